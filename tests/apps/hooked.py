"""What hooks around requests see: bodies of all kinds, errors, and `close()`."""

import json
import os
import time


class Body:
    def __init__(self, pieces):
        self.pieces = iter(pieces)

    def __iter__(self):
        return self.pieces

    def close(self):
        if "RECORD" in os.environ:
            with open(os.environ["RECORD"], "a") as file:
                file.write(json.dumps({"hook": "close()", "pid": os.getpid()}) + "\n")


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise RuntimeError("from the application")
    if path == "/spin":
        while True:
            time.sleep(0.01)
    if path == "/sleep":
        time.sleep(0.2)
    headers = [("Content-Type", "text/plain")]
    if path == "/length":
        headers.append(("Content-Length", "5"))
    if path == "/none":
        start_response("204 No Content", [])
        return []
    write = start_response("200 OK", headers)
    if path == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if path == "/write":
        write(b"abc")
        return [b"de"]
    if path == "/stream":
        return Body([b"a", b"", b"bcd"])
    if path == "/late":
        return Body(fail() for _ in range(1))
    if path == "/by-hook":
        return [environ.get("HTTP_X_BY_HOOK", "no").encode()]
    return [b"hello"]


def fail():
    raise RuntimeError("from the body")
