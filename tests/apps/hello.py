"""The smallest application, and the names that application specs are tested with."""

import os

not_callable = 42


def app(environ, start_response):
    body = b"hello"
    if environ["PATH_INFO"] == "/pid":
        body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def make(greeting, *, times=1):
    def made(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [(greeting * times).encode()]

    return made


def make_nothing():
    return None


class Holder:
    app = staticmethod(app)
