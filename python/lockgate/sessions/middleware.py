"""The WSGI middleware: a session in the environ, and its cookie in the head of the response."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lockgate.sessions.cookie import CookieSettings
from lockgate.sessions.guard import GuardedStore
from lockgate.sessions.lifetimes import Lifetimes
from lockgate.sessions.manager import (
    ABSOLUTE_LIFETIME,
    IDLE_LIFETIME,
    STORE_TIMEOUT,
    Saved,
    SessionManager,
    keyring_of,
)
from lockgate.sessions.record import Store
from lockgate.sessions.session import Session

ENVIRON_KEY = "lockgate.session"

Headers = list[tuple[str, str]]
StartResponse = Callable[..., Callable[[bytes], Any]]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class SessionMiddleware:
    """Gives each request a session at ``environ["lockgate.session"]``.

    The session is saved when the response begins: after the call of an application that calls
    `start_response` in it, otherwise before the first piece of the body."""

    def __init__(
        self,
        app: Application,
        *,
        secret: str | bytes | None = None,
        secrets: Iterable[str | bytes] | None = None,
        store: GuardedStore | Store | str | None = None,
        store_timeout: float = STORE_TIMEOUT,
        name: str = "session",
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        http_only: bool = True,
        same_site: str | None = "Lax",
        persistent: bool = False,
        idle_lifetime: int | None = IDLE_LIFETIME,
        absolute_lifetime: int | None = ABSOLUTE_LIFETIME,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._manager = SessionManager(
            keyring_of(secret, secrets),
            cookie=CookieSettings(name, path, domain, secure, http_only, same_site),
            lifetimes=Lifetimes(idle_lifetime, absolute_lifetime),
            store=store,
            store_timeout=store_timeout,
            persistent=persistent,
            clock=clock,
        )

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        is_https = environ.get("wsgi.url_scheme") == "https"
        session = self._manager.open(environ.get("HTTP_COOKIE", ""), is_https)
        environ[ENVIRON_KEY] = session
        response = _Response(self._manager, session, is_https, start_response)
        body = self._app(environ, response.start)
        if not response.is_announced:
            # A generator calls start_response when its first piece is requested.
            return _LateBody(body, response)
        try:
            response.begin()
        except BaseException:
            _close(body)
            raise
        # The application's own iterable, so that the server can send files and lists as such.
        return body


class _Response:
    """The head that the application has announced, until the response begins."""

    def __init__(
        self,
        manager: SessionManager,
        session: Session,
        is_https: bool,
        start_response: StartResponse,
    ) -> None:
        self._manager = manager
        self._session = session
        self._is_https = is_https
        self._start_response = start_response
        self._head: tuple[str, Headers, tuple[Any, ...]] | None = None
        self._write: Callable[[bytes], Any] | None = None

    @property
    def is_announced(self) -> bool:
        return self._head is not None

    def start(
        self, status: str, headers: Headers, exc_info: Any = None, /
    ) -> Callable[[bytes], Any]:
        if self._write is not None:
            # The server raises the exception, or replaces a head that it has not sent.
            extra = () if exc_info is None else (exc_info,)
            return self._start_response(status, headers, *extra)
        if self._head is not None and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info")
        self._head = (status, headers, () if exc_info is None else (exc_info,))
        return self._write_first

    def begin(self) -> None:
        """Saves the session and passes the head on, once."""
        if self._write is not None or self._head is None:
            return
        status, headers, extra = self._head
        saved = self._manager.save(self._session, self._is_https, status.startswith("5"))
        self._write = self._start_response(status, with_session(headers, saved), *extra)

    def _write_first(self, piece: bytes) -> Any:
        self.begin()
        assert self._write is not None
        return self._write(piece)


class _LateBody:
    """The body of an application that calls `start_response` when its body is iterated."""

    def __init__(self, body: Iterable[bytes], response: _Response) -> None:
        self._body = body
        self._pieces: Iterator[bytes] | None = None
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._pieces is None:
            self._pieces = iter(self._body)
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._response.begin()
            raise
        self._response.begin()
        return piece

    def close(self) -> None:
        _close(self._body)


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def with_session(headers: Headers, saved: Saved) -> Headers:
    """The head of a response that depends on a session: no shared cache may give it to others."""
    if not saved.is_accessed:
        return headers
    headers = _with_vary(list(headers))
    cache_control = [value for name, value in headers if name.lower() == "cache-control"]
    directives = [part.strip() for value in cache_control for part in value.split(",")]
    names = {directive.partition("=")[0].strip().lower() for directive in directives}
    # What the application says about a response that only reads the session stays.
    if not cache_control:
        headers.append(("Cache-Control", "private"))
    elif saved.set_cookie is not None and not names & {"private", "no-store"}:
        kept = [part for part in directives if not part.lower().startswith(("public", "s-maxage"))]
        headers = [pair for pair in headers if pair[0].lower() != "cache-control"]
        headers.append(("Cache-Control", ", ".join(["private", *filter(None, kept)])))
    if saved.set_cookie is not None:
        headers.append(("Set-Cookie", saved.set_cookie))
    return headers


def _with_vary(headers: Headers) -> Headers:
    """`Cookie` is among the fields that the response varies by."""
    present = [value for name, value in headers if name.lower() == "vary"]
    fields = [field.strip() for value in present for field in value.split(",")]
    if {"cookie", "*"} & {field.lower() for field in fields}:
        return headers
    headers = [pair for pair in headers if pair[0].lower() != "vary"]
    headers.append(("Vary", ", ".join([*filter(None, fields), "Cookie"])))
    return headers
