"""A web application without a framework: all that PEP 3333 asks for, on one page.

Run it with `lockgate plain:app --chdir examples` (or `lockgate examples/plain.py`), then try

    curl http://127.0.0.1:8000/
    curl http://127.0.0.1:8000/echo -d 'some text'
    curl http://127.0.0.1:8000/count?to=5 --no-buffer
    curl http://127.0.0.1:8000/source
    curl http://127.0.0.1:8000/environ
"""

import json
import time
from urllib.parse import parse_qs


# An application is anything that can be called with two arguments. The server calls it once for
# every request, in several threads at the same time if it was started with more than one.
def app(environ, start_response):
    # `environ` is a plain dict: the request. PATH_INFO is the decoded path, as latin-1 text.
    route = ROUTES.get(environ["PATH_INFO"], not_found)
    # `start_response` takes the status and the headers. What is returned is the body.
    return route(environ, start_response)


def hello(environ, start_response):
    # The status is three digits, a space, and a reason in words.
    # The headers are a list of pairs; names and values are text. A name may occur twice.
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    # The body is an iterable of bytes. A list with one element is the fastest: the server adds its
    # Content-Length and sends head and body together.
    return [b"Hello! Try /echo, /count?to=5, /source and /environ.\n"]


def echo(environ, start_response):
    # The body of the request is a file-like object. Reading stops where the body ends, also when it
    # came in chunks: Lockgate has received all of it before it calls us, large ones on disk.
    body = environ["wsgi.input"].read()
    # CONTENT_TYPE and CONTENT_LENGTH are the two headers without HTTP_ in front of their names.
    content_type = environ.get("CONTENT_TYPE") or "application/octet-stream"
    start_response("200 OK", [("Content-Type", content_type)])
    return [body]


def count(environ, start_response):
    # The query string comes undecoded.
    query = parse_qs(environ["QUERY_STRING"])
    try:
        last = min(int(query["to"][0]), 1000)
    except (KeyError, ValueError):
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return [b"say how far: /count?to=5\n"]
    # No Content-Length is known here, so the server sends the body in chunks.
    start_response("200 OK", [("Content-Type", "text/plain")])
    # A generator: every piece is sent before the next one is asked for.
    return counted(last)


def counted(last):
    try:
        for number in range(1, last + 1):
            yield b"%d\n" % number
            time.sleep(0.05)
    finally:
        # The server closes the generator at its end, and also when the client leaves before it.
        # This is the place to give back what the response held.
        pass


def source(environ, start_response):
    # An open file in the server's wrapper is sent by the kernel, without passing through Python.
    # The server closes the file.
    start_response("200 OK", [("Content-Type", "text/x-python; charset=utf-8")])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def show_environ(environ, start_response):
    # HTTP_ keys are request headers, the others in capitals describe the request and the server,
    # and those that start with `wsgi.` are the server's side of PEP 3333.
    shown = {
        key: value if isinstance(value, str) else repr(value) for key, value in environ.items()
    }
    # What is written here goes to the server's error log.
    environ["wsgi.errors"].write(f"environ shown to {environ['REMOTE_ADDR']}\n")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown, indent=2, sort_keys=True).encode(), b"\n"]


def not_found(environ, start_response):
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"not found\n"]


ROUTES = {
    "/": hello,
    "/echo": echo,
    "/count": count,
    "/source": source,
    "/environ": show_environ,
}
