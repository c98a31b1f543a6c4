"""Opens the session of a request and saves it with the response, for every framework."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lockgate.sessions.backends import Backend, CookieBackend, StoreBackend
from lockgate.sessions.cookie import LONGEST_COOKIE, CookieSettings
from lockgate.sessions.guard import GuardedStore, WaitBudget
from lockgate.sessions.keyring import Keyring
from lockgate.sessions.lifetimes import Lifetimes
from lockgate.sessions.record import Record, SessionTooLarge, Store, StoreUnavailable
from lockgate.sessions.session import Loaded, Session

DAY = 86400
IDLE_LIFETIME = DAY
ABSOLUTE_LIFETIME = 14 * DAY
STORE_TIMEOUT = 0.25


@dataclass(frozen=True)
class Saved:
    """What the response has to say about the session."""

    is_accessed: bool = False
    set_cookie: str | None = None


class SessionManager:
    """The settings of a site's sessions, and what they mean for one request.

    `clock` returns Unix seconds."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        cookie: CookieSettings | None = None,
        lifetimes: Lifetimes | None = None,
        store: GuardedStore | Store | str | None = None,
        store_timeout: float = STORE_TIMEOUT,
        persistent: bool = False,
        clock: Callable[[], float] = time.time,
        session_class: Callable[..., Session] = Session,
    ) -> None:
        self._keyring = keyring
        self._cookie = cookie or CookieSettings()
        self._lifetimes = lifetimes or Lifetimes(IDLE_LIFETIME, ABSOLUTE_LIFETIME)
        self._timeout = store_timeout
        self._persistent = persistent
        self._clock = clock
        self._session_class = session_class
        self._backend: Backend = CookieBackend()
        if store is not None:
            guarded = store if isinstance(store, GuardedStore) else GuardedStore(open_store(store))
            self._backend = StoreBackend(guarded)

    def open(self, cookies: str, is_https: bool) -> Session:
        """The session that a `Cookie` field leads to. Nothing is read before its first use."""

        def load() -> Loaded:
            return self._load(session, cookies, is_https)

        session = self._session_class(load, self._persistent)
        session.budget = WaitBudget(self._timeout)
        return session

    def save(self, session: Session, is_https: bool, is_error: bool = False) -> Saved:
        """Saves what has changed. Of a response that is a server's error, only the end of a
        session is saved."""
        session.close()
        if not session.is_accessed:
            return Saved()
        return Saved(True, self._save(session, is_https, is_error))

    def _load(self, session: Session, cookies: str, is_https: bool) -> Loaded:
        name = self._cookie.full_name(is_https)
        values = self._cookie.values(cookies, is_https)
        has_cookie = bool(values)
        opened = [self._keyring.open(value, name) for value in set(values)]
        valid = dict(found for found in opened if found is not None)
        # Two sessions under one name: another host or path may have set one of them.
        if len(valid) != 1:
            return Loaded(None, has_cookie=has_cookie)
        [(message, has_newest_secret)] = valid.items()
        key = self._backend.key(message)
        try:
            record = self._backend.load(session, message)
        except StoreUnavailable:
            return Loaded(None, key, has_cookie, is_available=False)
        if record is None or not self._lifetimes.is_valid(record, self._now()):
            return Loaded(None, has_cookie=has_cookie)
        return Loaded(record, key, has_cookie, has_old_secret=not has_newest_secret)

    def _save(self, session: Session, is_https: bool, is_error: bool) -> str | None:
        """The `Set-Cookie` field. None leaves the client's cookie as it is, also that of a session
        that is not found: another response may have replaced it already."""
        if is_error and not session.is_cleared:
            return None
        loaded, is_modified = session.loaded, session.is_modified
        if not (loaded.is_available or session.is_cleared):
            return None
        removal = self._cookie.set_cookie("", 0, is_https) if loaded.has_cookie else None
        is_ended = session.is_cleared or (is_modified and not session)
        if is_ended:
            self._end(session)
            if not (session and loaded.is_available):
                return removal
        now = self._now()
        if not (is_modified or self._wants_touch(loaded, now)):
            return None
        created = None if session.is_renewed else session.created
        created = now if created is None else created
        record = Record(created, now, session.persistent, session.data)
        remaining = self._lifetimes.remaining(record, now)
        try:
            message = self._backend.save(session, record, remaining)
        except StoreUnavailable:
            return removal if is_ended else None
        if message is None:
            return None
        value = self._keyring.seal(message, self._cookie.full_name(is_https))
        max_age = remaining if record.is_persistent else None
        cookie = self._cookie.set_cookie(value, max_age, is_https)
        if len(cookie) > LONGEST_COOKIE:
            raise SessionTooLarge(
                f"the session needs a cookie of {len(cookie):,} bytes, and browsers keep "
                f"{LONGEST_COOKIE:,}: keep less in it, or keep it on the server (store=…)"
            )
        return cookie

    def _wants_touch(self, loaded: Loaded, now: int) -> bool:
        if loaded.record is None:
            return False
        return loaded.has_old_secret or self._lifetimes.wants_touch(loaded.record, now)

    def _end(self, session: Session) -> None:
        try:
            self._backend.end(session)
        except StoreUnavailable:
            # The cookie goes all the same; the store drops the session when it expires.
            pass

    def _now(self) -> int:
        return int(self._clock())


def keyring_of(secret: str | bytes | None, secrets: Iterable[str | bytes] | None) -> Keyring:
    """The keyring of `secret=` or `secrets=`, of which exactly one is given."""
    if (secret is None) == (secrets is None):
        raise ValueError("sessions need secret=… or secrets=[new, old…], one of them")
    if isinstance(secrets, (str, bytes)):
        raise TypeError("secrets is a list of secrets; a single one is secret=…")
    return Keyring([secret] if secret is not None else secrets or ())


def open_store(store: Store | str) -> Store:
    """The store with an address: `redis://…`, `rediss://…` or `sqlite:///PATH`."""
    if not isinstance(store, str):
        return store
    scheme = store.partition("://")[0]
    if scheme in ("redis", "rediss", "redis+unix"):
        from lockgate.sessions.stores.redis import RedisStore

        return RedisStore(store)
    if scheme == "sqlite":
        from lockgate.sessions.stores.sqlite import SQLiteStore

        return SQLiteStore(store.removeprefix("sqlite://").removeprefix("/"))
    raise ValueError(f"{store!r} is no store: redis://HOST:PORT/DATABASE or sqlite:///PATH")
