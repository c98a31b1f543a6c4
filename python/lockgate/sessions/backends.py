"""Where the content of sessions is: in the cookie, or in a store whose key is in the cookie."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from lockgate.sessions.record import Record, SessionTooLarge, Store, StoreUnavailable, dumps
from lockgate.sessions.session import Session

T = TypeVar("T")

# For this long a store that has failed is not asked: only then does one request try it.
RETRY_AFTER = 1.0
# Characters of JSON.
LARGEST_STORED = 1024 * 1024

log = logging.getLogger("lockgate.sessions")


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

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._has_failed = False
        self._next_attempt = 0.0

    def key(self, message: bytes) -> str | None:
        return message.decode()

    def load(self, session: Session, message: bytes) -> Record | None:
        return self._ask(session, lambda timeout: self._store.load(message.decode(), timeout))

    def save(self, session: Session, record: Record, ttl: int) -> bytes | None:
        loaded = session.loaded
        old_key = loaded.key
        size = len(dumps(record.data))
        if size > LARGEST_STORED:
            raise SessionTooLarge(
                f"the session has {size:,} bytes, and stores get at most {LARGEST_STORED:,}: keep "
                "large content elsewhere, and its name in the session"
            )
        if session.is_new:
            key = new_key()
            self._ask(session, lambda timeout: self._store.create(key, record, ttl, timeout))
            return key.encode()
        assert old_key is not None
        key = new_key() if session.is_renewed else old_key
        changes = session.changes()
        is_there = self._ask(
            session,
            lambda timeout: self._store.update(old_key, key, record, changes, ttl, timeout),
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
            self._ask(session, lambda timeout: self._store.delete(key, timeout))

    def _ask(self, session: Session, call: Callable[[float], T]) -> T:
        """Calls the store unless it has failed a moment ago, for what remains of the time that
        the request may wait."""
        begin = time.monotonic()
        with self._lock:
            if self._has_failed and begin < self._next_attempt:
                raise StoreUnavailable("the store has failed a moment ago")
            # Only this request waits for a store that has failed.
            self._next_attempt = begin + RETRY_AFTER
        try:
            if session.patience <= 0:
                raise StoreUnavailable("the request has waited for the store for too long")
            answer = call(session.patience)
        except StoreUnavailable as error:
            self._on_failure(error)
            raise
        finally:
            session.patience -= time.monotonic() - begin
        self._on_success()
        return answer

    def _on_failure(self, error: StoreUnavailable) -> None:
        with self._lock:
            is_first, self._has_failed = not self._has_failed, True
            self._next_attempt = time.monotonic() + RETRY_AFTER
        if is_first:
            log.warning("session store unavailable: sessions are empty, and not saved: %s", error)

    def _on_success(self) -> None:
        if self._has_failed:
            with self._lock:
                is_first, self._has_failed = self._has_failed, False
            if is_first:
                log.warning("session store available again")


def new_key() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)
