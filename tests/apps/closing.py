"""Applications that finish their work in close(), which waits for a file.

The query of such a request is a path: PATH.started says that close() runs, PATH ends it, and
PATH.closed is its work.
"""

import os
import time
from pathlib import Path

TEXT = [("Content-Type", "text/plain")]
calls = []


def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    calls.append(path)
    if path == "/calls":
        body = " ".join(calls).encode()
        start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
        return [body]
    if path == "/is-closed":
        body = b"yes" if os.path.exists(query + ".closed") else b"no"
        start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
        return [body]
    return Held(query, KINDS[path](environ, start_response))


class Held:
    """An iterable whose close() takes until a file is there."""

    def __init__(self, path, pieces):
        self.path, self.pieces = path, pieces

    def __iter__(self):
        return iter(self.pieces)

    def close(self):
        Path(self.path + ".started").touch()
        deadline = time.monotonic() + 30
        while not os.path.exists(self.path) and time.monotonic() < deadline:
            time.sleep(0.002)
        Path(self.path + ".closed").touch()


def streamed(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"one "
    yield b"two"


def announced(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "7")])
    return [b"one ", b"two"]


def large(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", str(5_000_000))])
    return [b"x" * 5_000_000]


def written(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"one ")
    return [b"two"]


def empty(environ, start_response):
    start_response("204 No Content", [])
    return []


def failing(environ, start_response):
    start_response("200 OK", TEXT)
    raise ValueError("raised before the first piece")
    yield b""


def breaking(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"one"
    raise ValueError("raised after the first piece")


def short(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "100")])
    return [b"one"]


def last(environ, start_response):
    start_response("200 OK", [*TEXT, ("Connection", "close"), ("Content-Length", "3")])
    return [b"one"]


def endless(environ, start_response):
    start_response("200 OK", TEXT)
    while True:
        yield b"x" * 65536


KINDS = {
    f"/{kind.__name__}": kind
    for kind in (
        streamed,
        announced,
        large,
        written,
        empty,
        failing,
        breaking,
        short,
        last,
        endless,
    )
}
