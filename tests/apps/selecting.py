"""Uses select(2), which takes descriptors below 1,024 only, and opens files."""

import os
import select
import socket


def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/select":
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.send(b"x")
            readable, _, _ = select.select([ours], [], [], 10)
            return [b"%d" % len(readable)]
    with open(os.devnull, "rb") as file:
        return [b"%d %d" % (len(body), file.fileno() > 0)]
