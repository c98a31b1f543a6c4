"""Requests that a test holds: each is noted in a file, and ends when its gate, a file, exists.

The query is the name of the request, which begins with what it does: `hold`, `raise`, `close`
(holds in close()), `socket` (takes the connection over, then holds) or anything else.
PARTS_DIRECTORY has the files.
"""

import os
import time
from pathlib import Path

DIRECTORY = Path(os.environ["PARTS_DIRECTORY"])
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"


class HeldClose(list):
    """An iterable whose close() waits for a gate."""

    name = ""

    def close(self):
        wait_for(self.name)
        note("end", self.name)


def app(environ, start_response):
    name = environ["QUERY_STRING"]
    note("begin", name)
    if name.startswith("close"):
        start_response("200 OK", [("Content-Length", str(len(name)))])
        body = HeldClose([name.encode()])
        body.name = name
        return body
    if name.startswith("socket"):
        environ["gunicorn.socket"].sendall(HEAD)
    try:
        if name.startswith(("hold", "socket")):
            wait_for(name)
        if name.startswith("raise"):
            raise RuntimeError(name)
    finally:
        note("end", name)
    if name.startswith("deadline"):
        deadline = environ.get("lockgate.deadline")
        name = "none" if deadline is None else f"{deadline.remaining():.0f}"
    length = sum(map(len, iter(lambda: environ["wsgi.input"].read(65536), b"")))
    body = f"{name} {length}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def note(what, name):
    with (DIRECTORY / "notes").open("a") as notes:
        notes.write(f"{what} {name}\n")


def wait_for(name):
    """Returns at the latest after 30 s, and can be interrupted meanwhile."""
    until = time.monotonic() + 30
    while not (DIRECTORY / name).exists() and time.monotonic() < until:
        time.sleep(0.005)
