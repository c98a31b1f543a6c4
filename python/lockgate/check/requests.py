"""The requests that drive an application: ordinary ones, and what clients get wrong."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from lockgate._lockgate import FileWrapper, __version__
from lockgate.check.standins import Deadline

#: A path that no application has.
MISSING_PATH = "/lockgate-check/no-such-page"

FORM = "application/x-www-form-urlencoded"
BROKEN_MULTIPART = b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\nno end'


@dataclass(frozen=True)
class Request:
    method: str
    #: As in the request line: percent-encoded, without a query.
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    #: None: no body, and no Content-Length.
    body: bytes | None = None
    version: str = "HTTP/1.1"
    has_host: bool = True
    #: The client leaves after the first piece of the body.
    leaves: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Site:
    """What all requests have in common."""

    host: str = "localhost"
    is_https: bool = False
    root_path: str = ""
    has_threads: bool = True
    has_workers: bool = True
    #: Variables that a proxy would add, such as HTTP_X_FORWARDED_PROTO.
    added: tuple[tuple[str, str], ...] = ()
    #: Seconds; 0: requests have no deadline.
    request_timeout: float = 0.0


def ordinary(paths: Iterable[str]) -> Iterator[Request]:
    for path in paths:
        yield Request("GET", path)
        yield Request("HEAD", path)


def repeated(path: str, times: int) -> list[Request]:
    """The same request: what it leaves behind adds up."""
    return [Request("GET", path)] * times


def unusual(path: str) -> Iterator[Request]:
    """Requests without effects that real clients send."""
    yield Request("GET", path, version="HTTP/1.0", has_host=False)
    yield Request("GET", path, leaves=True)
    yield Request("GET", path, query="a=1&a=%ff&=&%00[]=%zz")
    yield Request("GET", path, headers=(("Cookie", "a; =b; session=%ff; c=\xe4;; d=\x22e"),))
    yield Request("GET", path, headers=(("Accept", "a/b;q=x, */"), ("Accept-Language", "-,*;q=9")))
    yield Request(
        "GET",
        path,
        headers=(("If-Modified-Since", "yesterday"), ("If-None-Match", '"a", W/"'), ("Range", "x")),
    )
    yield Request("GET", path, headers=(("Authorization", "Basic %%%"), ("Referer", "\xff")))
    yield Request("OPTIONS", path)
    yield Request("GET", f"{path.rstrip('/')}/%ff%fe/%E2%82%AC")


def with_bodies(path: str) -> Iterator[Request]:
    """Requests that may have effects: forms and what looks like one."""
    json = "application/json"
    yield Request("PURGE", path)
    yield Request("POST", path, body=b"")
    yield Request("POST", path, headers=(("Content-Type", FORM),), body=b"a=1&b=%ff&c")
    yield Request("POST", path, headers=(("Content-Type", json),), body=b'{"a": ')
    yield Request(
        "POST",
        path,
        headers=(("Content-Type", "multipart/form-data; boundary=edge"),),
        body=BROKEN_MULTIPART,
    )
    yield Request("POST", path, headers=(("Content-Type", "\xff/;;"),), body=b"\x00\xff" * 40_000)


class Input:
    """The body of a request, with the methods of the server's and no others, such as `seek`.
    Further use after `close` works, as with the server."""

    closed = False

    def __init__(self, body: bytes) -> None:
        stream = io.BytesIO(body)
        self.read, self.read1, self.readinto = stream.read, stream.read1, stream.readinto
        self.readline, self.readlines = stream.readline, stream.readlines

    def __iter__(self) -> Input:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def close(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return False


class Errors(io.StringIO):
    """The error log of one request."""


def environ(
    request: Request, site: Site, wrapper: type = FileWrapper, gone: Callable[[], bool] = bool
) -> dict[str, Any]:
    """The environ as the server makes it (docs/wsgi.md)."""
    path = unquote_to_bytes(request.path).decode("latin-1")
    scheme = "https" if site.is_https else "http"
    target = f"{request.path}?{request.query}" if request.query else request.path
    found: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": site.root_path,
        "PATH_INFO": path,
        "QUERY_STRING": request.query,
        "RAW_URI": target,
        "REQUEST_URI": target,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "443" if site.is_https else "80",
        "SERVER_PROTOCOL": request.version,
        "SERVER_SOFTWARE": f"lockgate/{__version__}",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": Input(request.body or b""),
        "wsgi.input_terminated": True,
        "wsgi.errors": Errors(),
        "wsgi.file_wrapper": wrapper,
        "wsgi.multithread": site.has_threads,
        "wsgi.multiprocess": site.has_workers,
        "wsgi.run_once": False,
        "lockgate.client_disconnected": gone,
    }
    if site.request_timeout:
        found["lockgate.deadline"] = Deadline(site.request_timeout)
    if request.has_host:
        found["HTTP_HOST"] = site.host
    if request.body is not None:
        found["CONTENT_LENGTH"] = str(len(request.body))
    for name, value in request.headers:
        key = name.upper().replace("-", "_")
        found["CONTENT_TYPE" if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    found.update(site.added)
    return found
