"""Answers for tests that look at the wire: plain, streamed, large, from files."""

import os
import tempfile
from io import BytesIO
from urllib.parse import parse_qs

PIECE = bytes(range(256)) * 256  # 64 KiB
TEXT = [("Content-Type", "text/plain")]


def app(environ, start_response):
    path = environ["PATH_INFO"]
    options = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    handler = HANDLERS.get(path.rsplit(":", 1)[0], show_path)
    return handler(environ, start_response, options)


def show_path(environ, start_response, options):
    """The default: proves which request was answered, and that its body was read."""
    body = environ["wsgi.input"].read()
    shown = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} ".encode("latin-1") + body
    start_response("200 OK", TEXT)
    return [shown]


def status(environ, start_response, options):
    code = options["code"]
    start_response(f"{code} Chosen", [])
    return [options["body"].encode()] if "body" in options else []


def stream(environ, start_response, options):
    start_response("200 OK", TEXT)
    for number in range(int(options.get("pieces", 3))):
        yield b"piece %d;" % number


def large(environ, start_response, options):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [PIECE * (int(options["megabytes"]) * 16)]


def large_stream(environ, start_response, options):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for _ in range(int(options["megabytes"]) * 16):
        yield PIECE


def file(environ, start_response, options):
    """A temporary file of known bytes, sent from `offset`, announced as `length` bytes."""
    size = int(options.get("size", 200_000))
    handle = tempfile.TemporaryFile()
    handle.write((PIECE * (size // len(PIECE) + 1))[:size])
    handle.flush()
    handle.seek(int(options.get("offset", 0)))
    headers = [("Content-Type", "application/octet-stream")]
    if "length" in options:
        headers.append(("Content-Length", options["length"]))
    start_response("200 OK", headers)
    return environ["wsgi.file_wrapper"](handle, int(options.get("block", 8192)))


def file_at(environ, start_response, options):
    """A file of the system's, from a path."""
    handle = open(options["path"], "rb", buffering=int(options.get("buffering", -1)))
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return environ["wsgi.file_wrapper"](handle)


class Tracked(BytesIO):
    """A file-like object without a descriptor that remembers being closed."""

    closed_count = 0

    def close(self):
        Tracked.closed_count += 1
        super().close()


def file_like(environ, start_response, options):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    handle = Tracked(PIECE * 3)
    handle.seek(int(options.get("offset", 0)))
    return environ["wsgi.file_wrapper"](handle)


class MinimalFile:
    """Nothing but read(), which is all that PEP 3333 promises."""

    def __init__(self, data):
        self.pieces = [data[:5], data[5:], b""]

    def read(self, size):
        return self.pieces.pop(0)


def file_minimal(environ, start_response, options):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](MinimalFile(b"minimal file"))


def file_iterated(environ, start_response, options):
    """The wrapper is an iterable too; middleware may walk over it."""
    start_response("200 OK", TEXT)
    return [b"".join(environ["wsgi.file_wrapper"](BytesIO(b"iterated"), 3))]


def file_closed_count(environ, start_response, options):
    start_response("200 OK", TEXT)
    return [str(Tracked.closed_count).encode()]


def own_headers(environ, start_response, options):
    headers = [("Date", "Tue, 15 Nov 1994 08:12:31 GMT"), ("Server", "mine/1.0")]
    start_response("200 OK", headers)
    return [b"own"]


def cookies(environ, start_response, options):
    start_response("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Reply", "r\xe9")])
    return [b"cookies"]


def large_headers(environ, start_response, options):
    headers = [(f"X-Large-{number}", f"{number % 10}" * 1_000) for number in range(40)]
    start_response("200 OK", [*TEXT, *headers])
    return [b"large headers"]


def head_with_length(environ, start_response, options):
    start_response("200 OK", [*TEXT, ("Content-Length", "12345")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"x" * 12345]


def pid(environ, start_response, options):
    start_response("200 OK", TEXT)
    return [str(os.getpid()).encode()]


HANDLERS = {
    "/status": status,
    "/stream": stream,
    "/large": large,
    "/large-stream": large_stream,
    "/file": file,
    "/file-at": file_at,
    "/file-like": file_like,
    "/file-minimal": file_minimal,
    "/file-iterated": file_iterated,
    "/file-closed-count": file_closed_count,
    "/own-headers": own_headers,
    "/cookies": cookies,
    "/large-headers": large_headers,
    "/head-with-length": head_with_length,
    "/pid": pid,
}
