"""Flask's session is the one that `SessionMiddleware` or `[session]` of the server has opened.

``app.session_interface = MiddlewareSessionInterface()``: the cookie, the store and the secrets are
then those of the middleware, for every application behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import SecureCookieSessionInterface, SessionMixin

from lockgate.sessions.middleware import ENVIRON_KEY
from lockgate.sessions.session import Session


class MiddlewareSession(SessionMixin):
    """A session of the middleware, with the attributes that Flask documents."""

    modified = False
    accessed = True

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def new(self) -> bool:  # type: ignore[override]
        return self._session.is_new

    @property
    def permanent(self) -> bool:
        return self._session.persistent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self._session.persistent = value

    def renew(self) -> None:
        """As `Session.renew`: for the moment of a login."""
        self._session.renew()

    def clear(self) -> None:
        self._session.clear()

    def __getitem__(self, name: str) -> Any:
        return self._session[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._session[name] = value

    def __delitem__(self, name: str) -> None:
        del self._session[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._session)

    def __len__(self) -> int:
        return len(self._session)


class MiddlewareSessionInterface(SecureCookieSessionInterface):
    """Without the middleware, as under another server, Flask's own sessions are used."""

    def open_session(self, app: Flask, request: Request) -> Any:
        session = request.environ.get(ENVIRON_KEY)
        if session is None:
            return super().open_session(app, request)
        return MiddlewareSession(session)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        # The middleware saves its own.
        if not isinstance(session, MiddlewareSession):
            super().save_session(app, session, response)
