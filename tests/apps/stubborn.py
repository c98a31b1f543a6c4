"""Calls that hold the GIL, and an exit function that does not end."""

import atexit
import time
from pathlib import Path


def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/compute":
        Path(query).touch()
        # One call in C: no other thread runs before it ends.
        sum(range(10**11))
    elif path == "/sleep":
        Path(query).touch()
        time.sleep(60)
    elif path == "/hang-at-exit":
        atexit.register(time.sleep, 60)
        Path(query).touch()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
