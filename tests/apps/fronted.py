"""Shows what an application behind a proxy sees: as JSON, in streams, in large bodies."""

import hashlib
import json

from wire_app import app as wire_app

SHOWN = (
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "SERVER_PROTOCOL",
    "HTTP_HOST",
    "CONTENT_LENGTH",
    "wsgi.url_scheme",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_SECRET",
)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/fails-midway":
        return fail_midway(start_response)
    if not environ["PATH_INFO"].startswith("/seen"):
        return wire_app(environ, start_response)
    digest, size = hashlib.sha256(), 0
    while piece := environ["wsgi.input"].read(65536):
        digest.update(piece)
        size += len(piece)
    seen = {name: environ.get(name) for name in SHOWN}
    seen.update(body=digest.hexdigest(), size=size)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]


def fail_midway(start_response):
    """More than any proxy holds back, and then an error."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for _ in range(50):
        yield b"x" * 65536
    raise RuntimeError("midway")
