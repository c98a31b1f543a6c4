"""Eleven bytes that a cache may keep, and no ranges: those are the server's."""

DATA = b"0123456789\n"


def app(environ, start_response):
    headers = [
        ("Content-Type", "text/plain"),
        ("Content-Length", str(len(DATA))),
        ("Cache-Control", "public, max-age=3600"),
        ("ETag", '"digits"'),
    ]
    start_response("200 OK", headers)
    return [DATA]
