"""Requests that fail in every way that an application has."""

import sys


class Broken(Exception):
    """As a driver of a database raises it."""


def find_order(secret):
    raise Broken(f"no order of {secret}")


def app(environ, start_response):
    path, secret = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path.startswith("/raises/"):
        find_order(secret)
    if path == "/caught":
        try:
            find_order(secret)
        except Broken:
            start_response("502 Bad Gateway", [], sys.exc_info())
            return [b"caught"]
    if path == "/status":
        start_response("503 Service Unavailable", [])
        return [b"later"]
    if path == "/silent":
        return [b"no start_response"]
    start_response("200 OK", [])
    if path == "/late":
        return Late()
    return [b"fine"]


class Late(list):
    """A body that is complete before the application fails."""

    def close(self):
        find_order("the client")
