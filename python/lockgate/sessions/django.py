"""Sessions for Django: ``SESSION_ENGINE = "lockgate.sessions.django"``.

The settings are Django's own, and these: `LOCKGATE_SESSION_STORE` (None: in the cookie),
`LOCKGATE_SESSION_STORE_TIMEOUT` and `LOCKGATE_SESSION_ABSOLUTE_LIFETIME`, both in seconds.
"""

from __future__ import annotations

import hashlib
import json
import time
from datetime import datetime
from functools import lru_cache
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, SessionBase, UpdateError
from django.utils import timezone
from django.utils.crypto import get_random_string

from lockgate.sessions.backends import check_size
from lockgate.sessions.cookie import LONGEST_COOKIE
from lockgate.sessions.guard import GuardedStore, WaitBudget
from lockgate.sessions.keyring import Keyring
from lockgate.sessions.lifetimes import Lifetimes
from lockgate.sessions.manager import STORE_TIMEOUT, open_store
from lockgate.sessions.record import (
    Changes,
    Record,
    SessionTooLarge,
    StoreUnavailable,
    dumps,
)

# What Django's attributes of the cookie take at most, beside its name and value.
ATTRIBUTES = 200
EXPIRY = "_session_expiry"


@lru_cache(maxsize=8)
def _keyring(secrets: tuple[str | bytes, ...]) -> Keyring:
    return Keyring(secrets)


@lru_cache(maxsize=8)
def _store(address: Any) -> GuardedStore:
    return GuardedStore(open_store(address))


class SessionStore(SessionBase):
    """Django's interface. Without a store the key is the sealed content, as in Django's
    `signed_cookies`; with one it is random, and the store has its hash."""

    _session_key: Any
    _session_cache: dict[str, Any]

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        address = getattr(settings, "LOCKGATE_SESSION_STORE", None)
        self._store = None if address is None else _store(address)
        timeout = getattr(settings, "LOCKGATE_SESSION_STORE_TIMEOUT", STORE_TIMEOUT)
        self._budget = WaitBudget(timeout)
        self._created: int | None = None
        # JSON of each value as the store has it.
        self._stored: dict[str, str] = {}
        self.is_available = True

    # What Django calls.

    def load(self) -> dict[str, Any]:
        record = self._loaded()
        if record is None or not self._is_valid(record):
            if self.is_available:
                self._session_key = None
            return {}
        self._created = record.created
        self._stored = {name: dumps(value) for name, value in record.data.items()}
        return dict(record.data)

    def create(self) -> None:
        self._created = None
        if self._store is None:
            self.modified = True
            return
        self._session_key = self._get_new_session_key()
        self.save(must_create=True)
        self.modified = True

    def save(self, must_create: bool = False) -> None:
        if self._store is None:
            self._session_key = self._sealed()
            self.modified = True
        elif self.session_key is None:
            self.create()
        else:
            self._save_to_store(self.session_key, self.session_key, must_create)

    def exists(self, session_key: str) -> bool:
        if self._store is None or session_key is None:
            return False
        return self._loaded_from_store(session_key) is not None

    def delete(self, session_key: str | None = None) -> None:
        if self._store is None:
            self._session_key = ""
            self._session_cache = {}
            self.modified = True
            return
        key = self.session_key if session_key is None else session_key
        if key is not None:
            self._ask(lambda store, timeout: store.delete(_hash(key), timeout))

    def cycle_key(self) -> None:
        self._get_session()
        if not self.is_available:
            return
        self._created = None
        old_key = self.session_key
        if self._store is None or old_key is None or not self._stored:
            self.create()
            if self._store is None:
                self.save()
            elif old_key is not None and old_key != self.session_key:
                self.delete(old_key)
            return
        new_key = self._get_new_session_key()
        try:
            self._save_to_store(old_key, new_key, False)
            if self.is_available:
                self._session_key = new_key
        except UpdateError:
            # Another request has ended the session: its content is not revived.
            self._session_cache = {}
            self._stored = {}
            self.create()
        self.modified = True

    async def acycle_key(self) -> None:
        await sync_to_async(self.cycle_key)()

    @classmethod
    def clear_expired(cls) -> None:
        """Stores remove expired sessions themselves."""

    # How it does it.

    def _get_new_session_key(self) -> str:
        # 165 random bits: there is no other session with this key.
        return str(get_random_string(32, VALID_KEY_CHARS))

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

    def _loaded(self) -> Record | None:
        key = self.session_key
        if key is None:
            return None
        if self._store is not None:
            return self._loaded_from_store(key)
        opened = self._keyring().open(key, settings.SESSION_COOKIE_NAME)
        if opened is None:
            return None
        created, used, _, data = json.loads(opened[0])
        return Record(created, used, False, data)

    def _loaded_from_store(self, key: str) -> Record | None:
        record = self._ask(lambda store, timeout: store.load(_hash(key), timeout))
        return record if isinstance(record, Record) else None

    def _is_valid(self, record: Record) -> bool:
        expiry = record.data.get(EXPIRY)
        absolute = getattr(settings, "LOCKGATE_SESSION_ABSOLUTE_LIFETIME", None)
        if not isinstance(expiry, str):
            idle = expiry or self.get_session_cookie_age()
            return idle > 0 and Lifetimes(idle, absolute).is_valid(record, int(time.time()))
        # `set_expiry` with a date.
        is_valid = Lifetimes(None, absolute).is_valid(record, int(time.time()))
        return is_valid and datetime.fromisoformat(expiry) > timezone.now()

    def _record(self) -> Record:
        now = int(time.time())
        data = self._get_session(no_load=self.session_key is None)
        return Record(now if self._created is None else self._created, now, False, data)

    def _sealed(self) -> str:
        record = self._record()
        content = dumps([record.created, record.used, 0, record.data])
        name = settings.SESSION_COOKIE_NAME
        value = self._keyring().seal(content.encode(), name)
        size = len(name) + len(value) + ATTRIBUTES
        if size > LONGEST_COOKIE:
            raise SessionTooLarge(
                f"the session needs a cookie of {size:,} bytes, and browsers keep "
                f"{LONGEST_COOKIE:,}: keep less in it, or set LOCKGATE_SESSION_STORE"
            )
        return value

    def _save_to_store(self, key: str, new_key: str, must_create: bool) -> None:
        if not self.is_available:
            return
        record = self._record() if not must_create else self._new_record()
        data = {name: dumps(value) for name, value in record.data.items()}
        check_size(sum(len(name) + len(text) for name, text in data.items()))
        ttl = max(int(self.get_expiry_age(expiry=record.data.get(EXPIRY))), 1)
        if must_create:
            self._ask(
                lambda store, timeout: store.create(_hash(key), record, ttl, timeout), is_write=True
            )
        else:
            changes = Changes(
                {name: text for name, text in data.items() if self._stored.get(name) != text},
                [name for name in self._stored if name not in data],
            )
            is_there = self._ask(
                lambda store, timeout: store.update(
                    _hash(key), _hash(new_key), record, changes, ttl, timeout
                ),
                is_write=True,
            )
            if is_there is False:
                raise UpdateError
        self._stored = data

    def _new_record(self) -> Record:
        now = int(time.time())
        return Record(now, now, False, self._get_session(no_load=True))

    def _ask(self, call: Any, *, is_write: bool = False) -> Any:
        """What the store answers; None if it is not available."""
        assert self._store is not None
        try:
            return self._store.ask(self._budget, call, is_write=is_write)
        except StoreUnavailable:
            self.is_available = False
            return None

    def _keyring(self) -> Keyring:
        return _keyring((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


def _hash(key: str) -> str:
    # A copy of the store does not give the cookies of its sessions.
    return hashlib.sha256(key.encode()).hexdigest()
