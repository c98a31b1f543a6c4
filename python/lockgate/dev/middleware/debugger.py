"""Werkzeug's debugger where the application raises an exception: its page, with a console in each
frame behind a PIN.

Consoles run any code, so only this machine gets them: the client's address must be a loopback
address or a unix socket, and `Host` a name of this machine (a page of another site can have the
browser send requests, DNS rebinding). A proxy on this machine hides the client's address, so a
request with a forwarding header gets none.

The application runs as without it: it is called in the server's call, and its body is passed on.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from lockgate.dev import failure
from lockgate.dev.middleware.failing import GuardedBody, Head, is_complete
from lockgate.dev.middleware.messages import Messages
from lockgate.dev.middleware.pin_attempts import PinAttempts

Application = Callable[..., Any]
Environ = dict[str, Any]

#: Where an exception waits for Werkzeug's middleware, which catches it again.
RAISED = "lockgate.dev.raised"

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))) + os.sep

NOTICE = (
    '<p class="explanation"><strong>The frames of this page are in the memory of one worker. '
    "</strong>A reload forgets them: then load this page again.</p>\n"
)
#: Where the notice stands in Werkzeug's page.
HEADLINE = re.compile(r'<h2 class="traceback">')

FORGOTTEN = (
    "<pre>This traceback belongs to a version of the application that is no longer loaded: "
    "a reload forgets its frames. Load the page again.</pre>"
)
NOT_LOCAL = (
    "<pre>Consoles work only in a browser on the machine of the server, at localhost or "
    "127.0.0.1, without a proxy.</pre>"
)
#: Headers by which a proxy names its client.
FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")
NOT_TRUSTED = "<pre>The PIN is no longer accepted. Load the page again.</pre>"


class Unavailable(Exception):
    """There is no debugger; the text says why."""


class Debugger:
    """An application with Werkzeug's debugger."""

    def __init__(self, application: Application, messages: Messages, attempts: PinAttempts) -> None:
        try:
            werkzeug = importlib.import_module("werkzeug.debug")
        except ImportError as error:
            raise Unavailable(
                "Werkzeug's debugger is not available: Werkzeug is not installed here; "
                "pip install werkzeug, or leave --debugger out"
            ) from error
        self._application = application
        self._messages = messages
        self._attempts = attempts
        # It computes the PIN of the application itself, which `flask run` has, too.
        self._werkzeug = werkzeug.DebuggedApplication(
            application,
            evalex=True,
            console_init_func=lambda: {"app": application},
            pin_logging=False,
        )
        self._pin: str | None = self._werkzeug.pin
        self._werkzeug.app = raise_again
        # Werkzeug looks at `Host` alone, which any client can set.
        self._trusts_host: Callable[[Environ], bool] = self._werkzeug.check_host_trust
        self._werkzeug.check_host_trust = self._trusts

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Any:
        query = environ.get("QUERY_STRING", "")
        if "__debugger__=yes" in query:
            return self._command(parse_qs(query), environ, start_response)
        if environ.get("PATH_INFO") == self._werkzeug.console_path:
            if not self._trusts(environ):
                return answer(start_response, NOT_LOCAL, "403 Forbidden")
            self._show_pin()
            return self._werkzeug(environ, start_response)
        contexts: list[Any] = []
        environ["werkzeug.debug.preserve_context"] = contexts.append
        head = Head(start_response)
        try:
            body = self._application(environ, head.start)
        except Exception as error:
            return self._page(error, contexts, environ, head)
        if is_complete(body, environ):
            return body

        def page(error: Exception) -> list[bytes]:
            return self._page(error, contexts, environ, head)

        return GuardedBody(body, head, page)

    def _command(
        self, query: dict[str, list[str]], environ: Environ, start_response: Callable[..., Any]
    ) -> Any:
        """A request of the debugger's own page."""
        command = query.get("cmd", [""])[0]
        if command == "resource":
            return self._werkzeug(environ, start_response)
        if not self._trusts(environ):
            return answer(start_response, NOT_LOCAL, "403 Forbidden")
        if query.get("s") != [self._werkzeug.secret]:
            return answer(start_response, FORGOTTEN)
        if command == "printpin":
            self._show_pin()
            return answer(start_response, "")
        if command == "pinauth":
            return self._enter_pin(environ, start_response)
        return self._werkzeug(environ, start_response)

    def _trusts(self, environ: Environ) -> bool:
        """Whether the request may use consoles, with the PIN."""
        return is_local(environ) and self._trusts_host(environ)

    def _enter_pin(self, environ: Environ, start_response: Callable[..., Any]) -> Any:
        if not self._attempts.begin():
            self._messages.say_once(
                "Debugger: too many wrong PINs. Start lockgate dev again to enter one."
            )
            return answer(start_response, json.dumps({"auth": False, "exhausted": True}))
        body = b"".join(self._werkzeug(environ, start_response))
        if json.loads(body)["auth"]:
            self._attempts.succeed()
        return [body]

    def _show_pin(self) -> None:
        if self._pin is not None:
            self._messages.say_once(f"Debugger PIN: {self._pin}")

    def _page(
        self, error: Exception, contexts: Iterable[Any], environ: Environ, head: Head
    ) -> list[bytes]:
        """The page about an exception, which is also shown in the terminal. If bytes of another
        response have been sent, the server gets the exception."""
        if head.is_sent:
            raise error
        error = error.with_traceback(own_frames(error.__traceback__))
        self._messages.show(failure.of_request(error, environ))
        # Werkzeug would write the whole traceback there.
        environ = {**environ, "wsgi.errors": io.StringIO(), RAISED: (error, contexts)}
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started.append((status, headers))
            return b"".join

        html = b"".join(self._werkzeug.debug_application(environ, start)).decode()
        status, headers = started[-1]
        place = HEADLINE.search(html)
        if place is not None and self._trusts(environ):
            html = html[: place.start()] + NOTICE + html[place.start() :]
        content = html.encode()
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        headers += [("Content-Length", str(len(content))), ("Cache-Control", "no-store")]
        head.replace(status, headers, error)
        return [content]


def raise_again(environ: Environ, start_response: Callable[..., Any]) -> Any:
    """The application that Werkzeug's middleware sees."""
    __traceback_hide__ = True
    raised = environ.pop(RAISED, None)
    if raised is None:
        # A command of the page that Werkzeug has not accepted.
        return answer(start_response, NOT_TRUSTED)
    error, contexts = raised
    preserve = environ.get("werkzeug.debug.preserve_context")
    if preserve is not None:
        for context in contexts:
            preserve(context)
    raise error


def own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this package at its beginning."""
    rest = trace
    while rest is not None and rest.tb_frame.f_code.co_filename.startswith(PACKAGE):
        rest = rest.tb_next
    return rest


def is_local(environ: Environ) -> bool:
    """Whether the client is a program on this machine."""
    if any(name in environ for name in FORWARDED):
        return False
    client = environ.get("REMOTE_ADDR")
    if client == "":
        # A unix socket; clients of TCP have an address.
        return True
    try:
        address = ip_address(client or "unknown")
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def answer(start_response: Callable[..., Any], html: str, status: str = "200 OK") -> list[bytes]:
    content = html.encode()
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(content))),
        ("Cache-Control", "no-store"),
    ]
    start_response(status, headers)
    return [content]
