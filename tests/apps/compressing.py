"""An application whose tests plan its responses: `POST /NAME` has the plan of `GET /NAME`."""

import base64
import json
import tempfile
import threading

PLANS = {}
gate = threading.Event()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/open":
        gate.set()
    if environ["REQUEST_METHOD"] == "POST":
        PLANS[path] = json.loads(environ["wsgi.input"].read())
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"{}"]
    plan = PLANS[path]
    pieces = [base64.b64decode(piece) for piece in plan["pieces"]]
    headers = [tuple(header) for header in plan["headers"]]
    write = start_response(plan.get("status", "200 OK"), headers)
    return WAYS[plan["way"]](pieces, write, environ)


def way(function):
    WAYS[function.__name__] = function
    return function


WAYS = {}


@way
def whole(pieces, write, environ):
    return pieces


@way
def stream(pieces, write, environ):
    return (piece for piece in pieces)


@way
def written(pieces, write, environ):
    half = len(pieces) // 2
    for piece in pieces[:half]:
        write(piece)
    return pieces[half:]


@way
def file(pieces, write, environ):
    file = tempfile.TemporaryFile(buffering=0)
    file.write(b"".join(pieces))
    file.seek(0)
    return environ["wsgi.file_wrapper"](file)


@way
def gated(pieces, write, environ):
    for piece in pieces:
        yield piece
        gate.wait(20)
        gate.clear()


@way
def failing(pieces, write, environ):
    yield from pieces
    raise ValueError("in the middle")
