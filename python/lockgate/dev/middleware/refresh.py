"""Pages that load themselves again when another version of the application serves.

A page gets a script, which holds an event stream. The stream costs no thread: it is held by the
server (`push`). A version announces itself when it has loaded; the page then asks until that
version answers. Nothing is stored: a page knows the version that has made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from html import escape
from importlib import resources
from typing import Any
from urllib.parse import quote

from lockgate import publishing
from lockgate.dev.error_page import wants_html
from lockgate.dev.middleware import policy
from lockgate.dev.middleware.injection import (
    Headers,
    Injector,
    Page,
    Sealed,
    page_headers,
    page_of,
    with_mark,
    without_mark,
)
from lockgate.dev.middleware.messages import Messages

Application = Callable[..., Any]
Environ = dict[str, Any]

#: Paths below the application's mount point. The access log of `lockgate dev` leaves them out.
PREFIX = "/.lockgate/"
CHANNEL = "lockgate-dev"
#: Browsers come back after this time when a worker ends; in milliseconds.
RETRY = 100


@cache
def script() -> tuple[bytes, str]:
    """The script, and a digest of it."""
    content = resources.files(__package__).joinpath("refresh.js").read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


_announced: set[str] = set()


def announce(generation: str) -> None:
    """Lets the pages of other versions know that this one is about to serve; once. Raises
    RuntimeError without `push = true`."""
    if generation not in _announced:
        publishing.publish(CHANNEL, generation)
        _announced.add(generation)


class Refresh:
    """An application whose pages load themselves again."""

    def __init__(
        self,
        application: Application,
        generation: str,
        messages: Messages,
        *,
        is_error_page: bool = False,
    ) -> None:
        self._application = application
        self._generation = generation
        self._messages = messages
        self._is_error_page = is_error_page
        self._script, self._script_tag = script()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Any:
        path = environ.get("PATH_INFO", "")
        if path.startswith(PREFIX):
            found = self._own(path.removeprefix(PREFIX))
            if found is not None:
                headers, body = found
                start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
                return [body]
        if not is_navigation(environ):
            return self._application(environ, start_response)
        ask_for_a_whole_page(environ, self._generation)
        response = Response(self, environ, start_response)
        return response.body(self._application(environ, response.start))

    def _own(self, name: str) -> tuple[Headers, bytes] | None:
        if name == "refresh.js":
            # Its URL has its digest.
            cache = ("Cache-Control", "max-age=31536000, immutable")
            return [("Content-Type", "text/javascript; charset=utf-8"), cache], self._script
        if name == "version":
            cache = ("Cache-Control", "no-store")
            return [("Content-Type", "text/plain"), cache], self._generation.encode()
        if name == "refresh":
            headers = [
                ("Content-Type", "text/event-stream"),
                ("Cache-Control", "no-store"),
                ("Grip-Hold", "stream"),
                ("Grip-Channel", CHANNEL),
                ("Grip-Keep-Alive", ":\\n\\n; format=cstring; timeout=20"),
            ]
            return headers, f"retry: {RETRY}\ndata: {self._generation}\n\n".encode()
        return None

    def element(self, environ: Environ, headers: Headers) -> bytes | None:
        """The element of the script; None, with a message, if the page's policy forbids it."""
        policies = [value for name, value in headers if name.lower() == "content-security-policy"]
        nonce = None
        if policies:
            host = environ.get("HTTP_HOST", "")
            verdict = policy.judge(policies, environ["wsgi.url_scheme"], host.lower())
            if isinstance(verdict, policy.Forbidden):
                self._messages.say_once(
                    "Pages do not load themselves again: their Content-Security-Policy has "
                    f"`{verdict.directive}`. Allow 'self' there, or give scripts a nonce."
                )
                return None
            nonce = verdict.nonce
        mount = quote(environ.get("SCRIPT_NAME", "").encode("latin-1"))
        attributes = {
            "src": f"{mount}{PREFIX}refresh.js?{self._script_tag}",
            "data-generation": self._generation,
            "data-method": environ["REQUEST_METHOD"],
            "data-page": "error" if self._is_error_page else "application",
        }
        if nonce is not None:
            attributes["nonce"] = nonce
        written = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
        return f"<script {written} defer></script>".encode()

    def cannot_open(self, coding: str) -> None:
        self._messages.say_once(
            f"Pages do not load themselves again: the application compresses them as {coding}, "
            "although the request asked for gzip."
        )

    def marked(self, tag: str) -> str:
        return with_mark(tag, self._generation)

    def page_headers(self, headers: Headers) -> Headers:
        return page_headers(headers, self._generation)


def is_navigation(environ: Environ) -> bool:
    """Whether a browser shows the response as a page of its own. Over plain HTTP from another host
    browsers do not say so; then it may be if HTML is accepted by name, which programs and elements
    such as `<video>` do not do, and no script of a usual library asks."""
    destination = environ.get("HTTP_SEC_FETCH_DEST")
    if destination is not None:
        return bool(destination == "document")
    if "HTTP_X_REQUESTED_WITH" in environ or "HTTP_HX_REQUEST" in environ:
        return False
    return wants_html(environ.get("HTTP_ACCEPT", ""))


def ask_for_a_whole_page(environ: Environ, generation: str) -> None:
    """Changes a request so that its response is a whole page in a coding that can be opened, and a
    304 stands for a page with the script of this version."""
    environ.pop("HTTP_IF_MODIFIED_SINCE", None)
    if "HTTP_IF_NONE_MATCH" in environ:
        known = without_mark(environ.pop("HTTP_IF_NONE_MATCH"), generation)
        if known:
            environ["HTTP_IF_NONE_MATCH"] = known
    for name in ("HTTP_RANGE", "HTTP_IF_RANGE"):
        environ.pop(name, None)
    codings = environ.get("HTTP_ACCEPT_ENCODING", "").lower()
    if codings:
        environ["HTTP_ACCEPT_ENCODING"] = "gzip" if "gzip" in codings else "identity"


class Response:
    """A response to a navigation. Its head waits until it is known what the body becomes."""

    def __init__(
        self, refresh: Refresh, environ: Environ, start_response: Callable[..., Any]
    ) -> None:
        self._refresh = refresh
        self._environ = environ
        self._start_response = start_response
        self._head: tuple[str, Headers] | None = None
        self._exc_info: Any = None
        self._write: Callable[[bytes], Any] | None = None
        self._injector: Injector | None = None
        self._held: list[bytes] | None = None
        self._is_decided = False

    def start(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[..., Any]:
        """The `start_response` of the application."""
        if self._write is not None:
            # The server knows whether the head can still be replaced.
            self._write = self._start_response(status, headers, exc_info)
            return self.write
        if self._head is not None and exc_info is None:
            # Against PEP 3333; the server has the error for that.
            self._start_response(*self._head)
            self._start_response(status, headers)
        # Pieces that wait are of the response that is replaced.
        self._is_decided, self._injector, self._held = False, None, None
        self._head = (status, headers)
        self._exc_info = exc_info
        return self.write

    def write(self, piece: bytes) -> None:
        """The `write` of PEP 3333."""
        self._decide()
        self._release()
        if self._injector is not None:
            piece = self._injector.piece(piece)
        if piece and self._write is not None:
            self._write(piece)

    def body(self, result: Any) -> Any:
        """What the server gets of the application's result."""
        is_whole = isinstance(result, (list, tuple))
        self._decide(is_whole)
        if self._is_decided and self._injector is None:
            return result
        if is_whole and self._head is None:
            # start_response was not called; the server has the error for that.
            return result
        return RewrittenBody(self, result)

    def feed(self, piece: bytes) -> bytes:
        """What is sent for a piece of the body; empty if it waits."""
        self._decide()
        if self._injector is None:
            return piece
        if self._held is not None:
            self._held.append(piece)
            return b""
        return self._injector.piece(piece)

    def end(self) -> bytes:
        """What is sent behind the last piece."""
        self._decide()
        if self._injector is None:
            return b""
        if self._held is None:
            return self._injector.end()
        whole = self._injector.whole(b"".join(self._held))
        self._held = None
        self._commit([("Content-Length", str(len(whole)))])
        return whole

    def _decide(self, is_whole: bool = False) -> None:
        """Decides what the response becomes, once the head is there; with `is_whole` the whole body
        is there, too."""
        if self._is_decided or self._head is None:
            return
        self._is_decided = True
        status, headers = self._head
        page = page_of(status, headers)
        if isinstance(page, Sealed):
            self._refresh.cannot_open(page.coding)
        if not isinstance(page, Page):
            if status.startswith("304"):
                self._mark_tag()
            return self._commit([])
        element = self._refresh.element(self._environ, headers)
        if element is None:
            return self._commit([])
        self._head = (status, self._refresh.page_headers(headers))
        if self._environ["REQUEST_METHOD"] == "HEAD":
            # The length of the page with the script is not known (RFC 9110 §9.3.2).
            return self._commit([])
        is_document = "HTTP_SEC_FETCH_DEST" in self._environ
        self._injector = Injector(element, page.coding, is_document)
        if page.is_held or is_whole:
            self._held = []
        else:
            self._commit([])

    def _mark_tag(self) -> None:
        """The tag of a 304 is that of the page which the browser has."""
        if self._head is None or "HTTP_IF_NONE_MATCH" not in self._environ:
            return
        status, headers = self._head
        marked = [
            (name, self._refresh.marked(value) if name.lower() == "etag" else value)
            for name, value in headers
        ]
        self._head = (status, marked)

    def _release(self) -> None:
        """A piece is written at once, so the page cannot wait until it is complete."""
        if self._held is not None:
            self._held = None
            self._commit([])

    def _commit(self, more: Headers) -> None:
        if self._head is None:
            return
        status, headers = self._head
        if self._exc_info is None:
            self._write = self._start_response(status, [*headers, *more])
        else:
            self._write = self._start_response(status, [*headers, *more], self._exc_info)
        self._exc_info = None


class RewrittenBody:
    """A body whose pieces pass through a `Response`."""

    def __init__(self, response: Response, body: Any) -> None:
        self._response = response
        self._body = body
        self._pieces: Iterator[bytes] | None = None
        self._is_over = False

    def __iter__(self) -> RewrittenBody:
        return self

    def __next__(self) -> bytes:
        if self._pieces is None:
            self._pieces = iter(self._body)
        while not self._is_over:
            try:
                piece = next(self._pieces)
            except StopIteration:
                self._is_over = True
                return self._response.end()
            changed = self._response.feed(piece)
            if changed or not piece:
                return changed
        raise StopIteration

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
