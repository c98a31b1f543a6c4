"""An application that takes its time, or takes every descriptor that its process may have."""

import os
import time

HOARD = []


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    path = environ["PATH_INFO"]
    if path == "/slow":
        return slowly()
    if path == "/hoard":
        return [b"%d" % hoard(int(environ["QUERY_STRING"]))]
    if path == "/let-go":
        while HOARD:
            os.close(HOARD.pop())
    return [b"GET " + path.encode() + b" "]


def slowly():
    for _ in range(5):
        yield b"piece;"
        time.sleep(0.5)


def hoard(leave):
    """Takes all descriptors but `leave`; gives how many that are."""
    try:
        while True:
            HOARD.append(os.dup(0))
    except OSError:
        pass
    for _ in range(leave):
        os.close(HOARD.pop())
    return len(HOARD)
