"""Writes a file and returns its mode."""

import os


def app(environ, start_response):
    path = os.environ["WRITE_TO"]
    with open(path, "w"):
        mode = os.stat(path).st_mode & 0o777
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [oct(mode).encode()]
