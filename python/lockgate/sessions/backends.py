"""Where the content of sessions is: in the cookie, or in a store whose key is in the cookie."""

from __future__ import annotations

import json
import secrets
from typing import Protocol

from lockgate.sessions.guard import GuardedStore
from lockgate.sessions.record import Record, SessionTooLarge, dumps
from lockgate.sessions.session import Session

# Characters of JSON.
LARGEST_STORED = 1024 * 1024


class Backend(Protocol):
    """What the sealed message of a cookie means."""

    def key(self, message: bytes) -> str | None:
        """The key in the store."""
        ...

    def load(self, session: Session, message: bytes) -> Record | None: ...

    def save(self, session: Session, record: Record, ttl: int) -> bytes | None:
        """The message for the cookie; None if the client's cookie is to stay as it is."""
        ...

    def end(self, session: Session) -> None: ...


class CookieBackend:
    """The message is the content."""

    def key(self, message: bytes) -> str | None:
        return None

    def load(self, session: Session, message: bytes) -> Record | None:
        created, used, is_persistent, data = json.loads(message)
        return Record(created, used, bool(is_persistent), data)

    def save(self, session: Session, record: Record, ttl: int) -> bytes | None:
        content = [record.created, record.used, int(record.is_persistent), record.data]
        return dumps(content).encode()

    def end(self, session: Session) -> None:
        pass


class StoreBackend:
    """The message is a key of the store."""

    def __init__(self, store: GuardedStore) -> None:
        self._store = store

    def key(self, message: bytes) -> str | None:
        return message.decode()

    def load(self, session: Session, message: bytes) -> Record | None:
        key = message.decode()
        return self._store.ask(session.budget, lambda store, timeout: store.load(key, timeout))

    def save(self, session: Session, record: Record, ttl: int) -> bytes | None:
        loaded = session.loaded
        old_key = loaded.key
        check_size(len(dumps(record.data)))
        if session.is_new:
            key = new_key()
            self._store.ask(
                session.budget,
                lambda store, timeout: store.create(key, record, ttl, timeout),
                is_write=True,
            )
            return key.encode()
        assert old_key is not None
        key = new_key() if session.is_renewed else old_key
        changes = session.changes()
        is_there = self._store.ask(
            session.budget,
            lambda store, timeout: store.update(old_key, key, record, changes, ttl, timeout),
            is_write=True,
        )
        # Another request has ended or renewed the session meanwhile, and its cookie counts.
        if not is_there:
            return None
        is_as_before = key == old_key and not loaded.has_old_secret
        is_as_before = is_as_before and not (record.is_persistent or session.is_persistence_set)
        return None if is_as_before else key.encode()

    def end(self, session: Session) -> None:
        key = session.loaded.key
        if key is not None:
            self._store.ask(session.budget, lambda store, timeout: store.delete(key, timeout))


def new_key() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def check_size(size: int) -> None:
    """Refuses a session that is too large for a store."""
    if size > LARGEST_STORED:
        raise SessionTooLarge(
            f"the session has {size:,} bytes, and stores get at most {LARGEST_STORED:,}: keep "
            "large content elsewhere, and its name in the session"
        )
