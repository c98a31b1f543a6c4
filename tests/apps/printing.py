"""Prints each path on both standard streams."""

import sys


def app(environ, start_response):
    print("on stdout:", environ["PATH_INFO"], flush=True)
    print("on stderr:", environ["PATH_INFO"], file=sys.stderr, flush=True)
    start_response("204 No Content", [])
    return []
