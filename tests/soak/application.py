"""The application under load: every body is a function of its request."""

import hashlib
import os
import tempfile
import time
from urllib.parse import parse_qsl

VERSION = "one"
SABOTAGE = os.environ.get("SOAK_SABOTAGE", "")
HOARD = []
LINE = '{"query":"id=%s","status":200,"outcome":"complete","path":"/echo"}\n'
# PREAMBLE


def app(environ, start_response):
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    if SABOTAGE and query.get("id", "").endswith("7"):
        sabotage(query)
    headers = [
        ("Content-Type", "application/octet-stream"),
        ("X-Version", VERSION),
        ("X-Pid", str(os.getpid())),
    ]
    return ROUTES[environ["PATH_INFO"]](environ, start_response, headers, query)


def content(query):
    size = int(query["size"])
    data = hashlib.shake_128(query["id"].encode()).digest(size)
    if query.get("sabotaged") and size:
        data = data[:-1] + bytes([data[-1] ^ 1])
    return data


def sabotage(query):
    """What the soak has to find: for the tests of the soak itself."""
    if SABOTAGE == "body":
        query["sabotaged"] = "yes"
    elif SABOTAGE == "memory":
        HOARD.append(bytearray(b"x") * 1_000_000)
    elif SABOTAGE == "descriptors":
        os.open("/dev/null", os.O_RDONLY)
    elif SABOTAGE == "log":
        with open("access.log", "a") as log:
            log.write(LINE % query["id"])
    elif SABOTAGE == "death":
        os._exit(7)


def plain(environ, start_response, headers, query):
    body = content(query)
    start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
    return [body]


def echo(environ, start_response, headers, query):
    body = environ["wsgi.input"].read()
    start_response("200 OK", headers)
    return [body]


def pieces(query):
    body, count = content(query), int(query["pieces"])
    step = -(-len(body) // count) or 1
    return [body[at : at + step] for at in range(0, len(body), step)]


def stream(environ, start_response, headers, query):
    start_response("200 OK", headers)
    yield from pieces(query)


def written(environ, start_response, headers, query):
    write = start_response("200 OK", headers)
    for piece in pieces(query):
        write(piece)
    return []


def file(environ, start_response, headers, query):
    handle = tempfile.TemporaryFile()
    handle.write(content(query))
    handle.seek(0)
    start_response("200 OK", headers)
    return environ["wsgi.file_wrapper"](handle)


def slow(environ, start_response, headers, query):
    time.sleep(int(query["milliseconds"]) / 1000)
    return plain(environ, start_response, headers, query)


def nothing(environ, start_response, headers, query):
    start_response("204 No Content", headers[1:])
    return []


def fail(environ, start_response, headers, query):
    raise RuntimeError("on purpose")


def broken(environ, start_response, headers, query):
    start_response("200 OK", headers)
    yield content(query)
    raise RuntimeError("on purpose")


def health(environ, start_response, headers, query):
    start_response(HEALTH, headers)
    return [b""]


HEALTH = "200 OK"
ROUTES = {
    "/plain": plain,
    "/echo": echo,
    "/stream": stream,
    "/written": written,
    "/file": file,
    "/slow": slow,
    "/nothing": nothing,
    "/fail": fail,
    "/broken": broken,
    "/health": health,
}
