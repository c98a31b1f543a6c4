"""Echoes its request, to compare WSGI servers on the wire."""

import json


def app(environ, start_response):
    length = environ.get("CONTENT_LENGTH")
    try:
        body = read(environ, length).decode("latin-1")
    except Exception as error:  # what a server's own stream raises is what is to be seen
        body = f"ERR {type(error).__name__}"
    seen = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["SCRIPT_NAME"] + environ["PATH_INFO"],
        "query": environ.get("QUERY_STRING", ""),
        "raw": environ.get("RAW_URI") or environ.get("REQUEST_URI"),
        "protocol": environ["SERVER_PROTOCOL"],
        "headers": {key: environ[key] for key in environ if key.startswith(("HTTP_", "CONTENT_"))},
        "length": length,
        "body": body,
        "x": environ.get("HTTP_X"),
        "merged": sorted(key for key in environ if environ[key] in ("spoof", "/admin", "root")),
    }
    answer = json.dumps(seen).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
    start_response("200 OK", headers)
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer]


def read(environ, length):
    """The announced number of bytes; all of a body without a length, if the server ends it."""
    if length:
        return environ["wsgi.input"].read(int(length))
    if environ.get("wsgi.input_terminated") or "HTTP_TRANSFER_ENCODING" in environ:
        return environ["wsgi.input"].read()
    return b""
