"""The WSGI applications of the scenarios. Nothing but PEP 3333 and the standard library."""

import os
import time

TEXT = "text/plain"
HELLO = b"Hello, World!"
MEGABYTE = b"x" * (1 << 20)
EIGHT_MEGABYTES = MEGABYTE * 8
KILOBYTE = b"y" * 1024
# About five milliseconds of CPython 3.11; a count and no clock, so the work never varies.
LOOP_TURNS = 80_000


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", TEXT), ("Content-Length", "13")])
    return [HELLO]


class Closing:
    """An iterable of one piece with a close(), as frameworks return."""

    def __init__(self):
        self.pieces = iter((HELLO,))

    def __iter__(self):
        return self.pieces

    def close(self):
        pass


def closing(environ, start_response):
    start_response("200 OK", [("Content-Type", TEXT), ("Content-Length", "13")])
    return Closing()


def sleep10(environ, start_response):
    time.sleep(0.010)
    return hello(environ, start_response)


def asleep(environ, start_response):
    """Sleeps for the seconds of the query."""
    time.sleep(float(environ["QUERY_STRING"] or 0))
    return hello(environ, start_response)


def spin(environ, start_response):
    """Computes for the seconds of the query."""
    until = time.monotonic() + float(environ["QUERY_STRING"] or 0)
    while time.monotonic() < until:
        sum(range(100))
    return hello(environ, start_response)


def mixed(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.050)
    return hello(environ, start_response)


def upload(environ, start_response):
    size, total = int(os.environ["PIECE"]), 0
    while data := environ["wsgi.input"].read(size):
        total += len(data)
    start_response("200 OK", [("Content-Type", TEXT)])
    return [str(total).encode()]


def post(environ, start_response):
    body = environ["wsgi.input"]
    missing = int(environ.get("CONTENT_LENGTH") or 0)
    received = 0
    while missing > 0 and (piece := body.read(missing)):
        received += len(piece)
        missing -= len(piece)
    return _text(str(received), start_response)


def big(environ, start_response):
    length = str(len(MEGABYTE))
    start_response(
        "200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", length)]
    )
    return [MEGABYTE]


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", TEXT)])
    return (KILOBYTE for _ in range(100))


def cpu(environ, start_response):
    total = 0
    for turn in range(LOOP_TURNS):
        total = (total + turn * turn) & 0xFFFF
    return _text(str(total), start_response)


def attacked(environ, start_response):
    """Small but for one path; never reads a body."""
    if environ["PATH_INFO"] != "/big":
        return hello(environ, start_response)
    length = str(len(EIGHT_MEGABYTES))
    start_response(
        "200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", length)]
    )
    # One object for all, so that the server's memory is seen and not the application's.
    return [EIGHT_MEGABYTES]


def _text(text, start_response):
    answer = text.encode()
    start_response("200 OK", [("Content-Type", TEXT), ("Content-Length", str(len(answer)))])
    return [answer]


def both(environ, start_response):
    """/compute takes 5 ms of Python, anything else waits 10 ms."""
    return (cpu if environ["PATH_INFO"] == "/compute" else sleep10)(environ, start_response)


def hundred(environ, start_response):
    """/stuck takes 100 s, anything else is hello."""
    if environ["PATH_INFO"] == "/stuck":
        time.sleep(100)
    return hello(environ, start_response)


def count(environ, start_response):
    """Reads a body of any size and discards it."""
    received = 0
    while piece := environ["wsgi.input"].read(1 << 20):
        received += len(piece)
    return _text(str(received), start_response)
