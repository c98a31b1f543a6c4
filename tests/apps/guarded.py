"""Says who it takes the client for, and counts its calls; may be cached, or echo a WebSocket."""

import itertools
import json
import re

CALLS = itertools.count(1)


def app(environ, start_response):
    query = environ["QUERY_STRING"]
    headers = [("Content-Type", "application/json")]
    body = environ["wsgi.input"].read()
    if environ.get("CONTENT_TYPE") == "application/websocket-events":
        return websocket(environ, start_response, body)
    if query.startswith("cc="):
        headers.append(("Cache-Control", query[3:].replace("+", " ")))
    start_response("200 OK", headers)
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    return [json.dumps({**seen, "call": next(CALLS), "body": len(body)}).encode()]


def websocket(environ, start_response, body):
    """Echoes who it takes the client for, by WebSocket-over-HTTP."""
    start_response("200 OK", [("Content-Type", "application/websocket-events")])
    user = environ.get("HTTP_REMOTE_USER", "-") + "/" + environ.get("REMOTE_USER", "-")
    out = b""
    if body.startswith(b"OPEN"):
        out += b"OPEN\r\n"
    for _ in re.findall(rb"TEXT ", body):
        out += b"TEXT %x\r\n%s\r\n" % (len(user), user.encode())
    return [out]
