"""Sessions for Flask: ``app.session_interface = LockgateSessionInterface(store=…)``.

The names, times and secrets are those of Flask's own configuration.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from flask import Flask, Request, Response
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionInterface, SessionMixin

from lockgate.sessions.cookie import CookieSettings
from lockgate.sessions.guard import GuardedStore
from lockgate.sessions.keyring import Keyring
from lockgate.sessions.lifetimes import Lifetimes
from lockgate.sessions.manager import STORE_TIMEOUT, SessionManager, open_store
from lockgate.sessions.middleware import with_session
from lockgate.sessions.record import Store
from lockgate.sessions.session import Session

_SERIALIZER = TaggedJSONSerializer()


@lru_cache(maxsize=8)
def _keyring(secrets: tuple[str | bytes, ...]) -> Keyring:
    return Keyring(secrets)


class FlaskSession(Session, SessionMixin):
    """A session with the attributes that Flask documents. Values may be what Flask's own sessions
    keep: also tuples, bytes, dates, UUIDs and Markup."""

    _is_marked = False
    _is_used = False

    @property
    def new(self) -> bool:  # type: ignore[override]
        return self.is_new

    @property
    def is_modified(self) -> bool:
        return self._is_marked or super().is_modified

    @property
    def modified(self) -> bool:
        return self.is_modified

    @modified.setter
    def modified(self, value: bool) -> None:
        self._is_marked = value

    @property
    def accessed(self) -> bool:
        return self._is_used or self.is_accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        self._is_used = value

    @property
    def permanent(self) -> bool:
        return self.persistent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self.persistent = value

    def to_json(self, value: Any) -> Any:
        return _SERIALIZER.tag(value)

    def from_json(self, value: Any) -> Any:
        return _SERIALIZER.loads(json.dumps(value)) if isinstance(value, (dict, list)) else value


class LockgateSessionInterface(SessionInterface):
    """`SECRET_KEY` and `SECRET_KEY_FALLBACKS` are the secrets, `SESSION_COOKIE_*` the cookie, and
    `PERMANENT_SESSION_LIFETIME` is the idle lifetime of every session.

    A cookie is Secure over HTTPS, also without `SESSION_COOKIE_SECURE`, and has no prefix: the
    name is that of the configuration."""

    session_class = FlaskSession

    def __init__(
        self,
        *,
        store: Store | str | None = None,
        store_timeout: float = STORE_TIMEOUT,
        absolute_lifetime: int | None = None,
        same_site: str | None = "Lax",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = None if store is None else GuardedStore(open_store(store))
        self._timeout = store_timeout
        self._absolute_lifetime = absolute_lifetime
        self._same_site = same_site
        self._clock = clock

    def open_session(self, app: Flask, request: Request) -> FlaskSession | None:
        if not app.secret_key:
            # Flask then says at the first use what is missing.
            return None
        cookies = request.environ.get("HTTP_COOKIE", "")
        session = self._manager(app).open(cookies, request.is_secure)
        assert isinstance(session, FlaskSession)
        return session

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        from flask import request

        assert isinstance(session, FlaskSession)
        is_error = response.status_code >= 500
        saved = self._manager(app).save(session, request.is_secure, is_error)
        headers = with_session(response.headers.to_wsgi_list(), saved)
        response.headers.clear()
        response.headers.extend(headers)

    def _manager(self, app: Flask) -> SessionManager:
        """The manager for the configuration as it is now. It has no state beside the store."""
        secrets = (app.secret_key, *(app.config.get("SECRET_KEY_FALLBACKS") or ()))
        return SessionManager(
            _keyring(tuple(secret for secret in secrets if secret)),
            cookie=CookieSettings(
                name=self.get_cookie_name(app),
                path=self.get_cookie_path(app),
                domain=self.get_cookie_domain(app),
                # Flask's default is False.
                secure=self.get_cookie_secure(app) or None,
                http_only=self.get_cookie_httponly(app),
                same_site=self.get_cookie_samesite(app) or self._same_site,
                has_prefix=False,
                partitioned=bool(app.config.get("SESSION_COOKIE_PARTITIONED")),
            ),
            lifetimes=Lifetimes(
                int(app.permanent_session_lifetime.total_seconds()), self._absolute_lifetime
            ),
            store=self._store,
            store_timeout=self._timeout,
            clock=self._clock,
            session_class=FlaskSession,
        )
