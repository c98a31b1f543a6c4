"""Requests that a test holds and releases across processes: by files that it creates."""

import os
import time
from pathlib import Path


def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    body = str(os.getpid()).encode()
    if path == "/hold" or path.startswith("/hold/"):
        hold(query, body)
    elif path == "/halfway":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return halfway(query, body)
    elif path == "/brief":
        time.sleep(0.02)
    elif path == "/exit":
        os._exit(7)
    elif path == "/orphan":
        body = str(leave_an_orphan()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def hold(gate, body):
    """The gate is a path: PATH.started has the pid that serves, and PATH makes it continue."""
    started = Path(gate + ".started")
    started.with_suffix(".writing").write_bytes(body)
    started.with_suffix(".writing").rename(started)
    deadline = time.monotonic() + 30
    while not os.path.exists(gate) and time.monotonic() < deadline:
        time.sleep(0.005)


def halfway(gate, body):
    yield b"the first half"
    hold(gate, body)
    # More than any socket buffer takes.
    for _ in range(1000):
        yield bytes(64 * 1024)


def leave_an_orphan():
    """A grandchild whose parent exits before it; process 1 has to reap it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(3)
        os.write(writer, str(grandchild).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(reader, 20))
