"""An application that reads request bodies while the client sends them (`stream_request_body`)."""

import hashlib
import json
import threading

from flask import Flask, request

TEXT = [("Content-Type", "text/plain")]
ROUTES = {}
opened = threading.Event()
kept = []
flask_app = Flask(__name__)


def app(environ, start_response):
    name = environ["PATH_INFO"].rpartition("/")[2]
    if name == "flask":
        return flask_app(environ, start_response)
    return ROUTES[name.replace("-", "_")](environ, start_response)


def route(function):
    ROUTES[function.__name__] = function
    return function


def answer(start_response, value, status="200 OK"):
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(value).encode()]


def text(data):
    assert type(data) is bytes, type(data)
    return data.decode("latin-1")


@route
def environ(environ, start_response):
    keys = ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "wsgi.input_terminated")
    return answer(start_response, [environ.get(key) for key in keys])


@route
def read(environ, start_response):
    """Reads in pieces of the sizes in the query; -1: all."""
    stream = environ["wsgi.input"]
    sizes = [int(size) for size in environ["QUERY_STRING"].split(",")]
    return answer(start_response, [text(stream.read(size)) for size in sizes])


@route
def lines(environ, start_response):
    stream = environ["wsgi.input"]
    read = [stream.readline(), stream.readline(3), stream.readline(), *stream.readlines(5)]
    return answer(start_response, [text(line) for line in [*read, *stream]])


@route
def digest(environ, start_response):
    size = int(environ["QUERY_STRING"])
    total, sha256 = 0, hashlib.sha256()
    while data := environ["wsgi.input"].read(size):
        total += len(data)
        sha256.update(data)
    return answer(start_response, [total, sha256.hexdigest()])


@route
def digest_of_all(environ, start_response):
    data = environ["wsgi.input"].read()
    return answer(start_response, [len(data), hashlib.sha256(data).hexdigest()])


@route
def echo(environ, start_response):
    start_response("200 OK", TEXT)
    while data := environ["wsgi.input"].read1():
        yield data


@route
def early(environ, start_response):
    start_response("413 Content Too Large", TEXT)
    return [b"not wanted"]


@route
def open_gate(environ, start_response):
    opened.set()
    return answer(start_response, "open")


@route
def at_gate(environ, start_response):
    opened.wait(15)
    return answer(start_response, text(environ["wsgi.input"].read()))


@route
def on_thread(environ, start_response):
    found = []
    thread = threading.Thread(target=lambda: found.append(environ["wsgi.input"].read()))
    thread.start()
    thread.join()
    return answer(start_response, text(found[0]))


@route
def keep(environ, start_response):
    kept[:] = [environ["wsgi.input"]]
    return answer(start_response, text(kept[0].read(1)))


@route
def read_kept(environ, start_response):
    try:
        return answer(start_response, text(kept[0].read(1)))
    except ValueError as error:
        return answer(start_response, f"{type(error).__name__}: {error}")


@route
def caught(environ, start_response):
    """Logs what a read raises, and that the next one raises the same."""
    for _ in range(2):
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            environ["wsgi.errors"].write(f"caught {type(error).__name__}: {error}\n")
    return answer(start_response, "caught")


@route
def caught_and_failed(environ, start_response):
    caught(environ, start_response)
    raise FileNotFoundError("another error")


@flask_app.route("/stream/flask", methods=["POST"])
def upload():
    total, sha256 = 0, hashlib.sha256()
    while data := request.stream.read(65536):
        total += len(data)
        sha256.update(data)
    return [total, sha256.hexdigest()]
