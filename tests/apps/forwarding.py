"""Forwards every request, with all of its fields, to the HTTP server at FORWARD_TO (HOST:PORT).

For the tests of a cache: the origin behind it plays the application. One that closes the
connection without a response makes this gateway answer 502.
"""

import http.client
import os

FORWARD_TO = os.environ["FORWARD_TO"]
# RFC 9110 §7.6.1: they end at this hop, and the server frames the response by itself.
HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


class Final(http.client.HTTPResponse):
    """A response without the interim ones before it, which WSGI cannot pass on."""

    def _read_status(self):
        version, status, reason = super()._read_status()
        while 101 < status < 200:
            http.client.parse_headers(self.fp)
            version, status, reason = super()._read_status()
        return version, status, reason


def app(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else None
    connection = http.client.HTTPConnection(FORWARD_TO, timeout=30)
    connection.response_class = Final
    try:
        connection.request(
            environ["REQUEST_METHOD"], environ["RAW_URI"], body, dict(fields_of(environ))
        )
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException):
        start_response("502 Bad Gateway", [("Content-Type", "text/plain")])
        return [b"The origin did not answer.\n"]
    finally:
        connection.close()
    named = response.getheader("Connection", "").lower().replace(" ", "").split(",")
    ended = HOP_BY_HOP.union(named)
    kept = [(name, value) for name, value in response.getheaders() if name.lower() not in ended]
    start_response(f"{response.status} {response.reason or 'Unknown'}", kept)
    return [content] if content else []


def fields_of(environ):
    """The request's fields, those that repeat as the server has joined them."""
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            name = key.removeprefix("HTTP_").replace("_", "-")
            if name.lower() not in HOP_BY_HOP:
                yield name, value
    if environ.get("CONTENT_TYPE"):
        yield "Content-Type", environ["CONTENT_TYPE"]
