"""Every right of an application under PEP 3333, the unusual ones above all."""

import contextvars
import json
import os
import sys
import threading
import time
import weakref
from wsgiref.validate import validator

TEXT = [("Content-Type", "text/plain")]
ROUTES = {}
closed = []
kept = []
weak = []
gates = {}
gates_lock = threading.Lock()
remembered = contextvars.ContextVar("remembered", default="nothing")


def route(path):
    def keep(function):
        ROUTES[path] = function
        return function

    return keep


def app(environ, start_response):
    return ROUTES[environ["PATH_INFO"]](environ, start_response)


def gate(name):
    """An event that another request opens."""
    with gates_lock:
        return gates.setdefault(name, threading.Event())


@route("/open")
def open_gate(environ, start_response):
    gate(environ["QUERY_STRING"]).set()
    start_response("200 OK", TEXT)
    return [b"open"]


@route("/streamed-through-a-gate")
def streamed_through_a_gate(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"before"
    opened = gate(environ["QUERY_STRING"]).wait(15)
    yield b"after" if opened else b"the gate stayed shut"


@route("/written-through-a-gate")
def written_through_a_gate(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"before")
    opened = gate(environ["QUERY_STRING"]).wait(15)
    write(b"after" if opened else b"the gate stayed shut")
    return []


@route("/held")
def held(environ, start_response):
    opened = gate(environ["QUERY_STRING"]).wait(15)
    start_response("200 OK", TEXT)
    return [b"opened" if opened else b"the gate stayed shut"]


@route("/environ")
def show_environ(environ, start_response):
    shown = {"type(environ)": type(environ).__name__, "os.environ": os.environ.get("DEPLOYED")}
    for key, value in environ.items():
        is_plain = type(value) in (str, bool, int, float, tuple)
        shown[key] = value if is_plain else f"<{type(value).__name__}>"
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode()]


@route("/hello")
def hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello"]


@route("/pieces")
def pieces(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"one ", b"two ", b"three"]


@route("/empty-list")
def empty_list(environ, start_response):
    start_response("200 OK", TEXT)
    return []


@route("/bytearray")
def subclass(environ, start_response):
    class Octets(bytes):
        pass

    start_response("200 OK", TEXT)
    return (Octets(b"octets"),)


@route("/written")
def written(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"written ")
    write(b"")
    write(b"twice ")
    return [b"and returned"]


@route("/late-start")
def late_start(environ, start_response):
    start_response("201 Created", [*TEXT, ("X-Late", "yes")])
    yield b"late"


@route("/replaced")
def replaced(environ, start_response):
    start_response("200 OK", [*TEXT, ("X-First", "yes")])
    try:
        raise ValueError("something went wrong")
    except ValueError:
        start_response("503 Replaced", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    return [b"replaced"]


@route("/replaced-after-empty")
def replaced_after_empty(environ, start_response):
    start_response("200 OK", TEXT)
    yield b""
    try:
        raise ValueError("something went wrong")
    except ValueError:
        start_response("503 Replaced", TEXT, sys.exc_info())
    yield b"replaced"


class Closing:
    """A body that remembers that it was closed."""

    def __init__(self, name, pieces):
        self.name, self.pieces = name, iter(pieces)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.pieces)

    def close(self):
        closed.append(self.name)


@route("/closing")
def closing(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing("normal", [b"one", b"two"])


@route("/closing-head")
def closing_head(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing("head", [b"one", b"two"])


@route("/closing-raise")
def closing_raise(environ, start_response):
    def fail():
        yield b"one"
        raise ValueError("raised with a close method")

    start_response("200 OK", TEXT)
    return Closing("raised", fail())


@route("/reading-and-raise")
def reading_and_raise(environ, start_response):
    environ["wsgi.input"].read()
    return closing_raise(environ, start_response)


@route("/closing-endless")
def closing_endless(environ, start_response):
    def endless():
        while True:
            yield b"x" * 65536

    start_response("200 OK", TEXT)
    return Closing("endless", endless())


@route("/closing-bad-status")
def closing_bad_status(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing("text", ["not bytes"])


@route("/closed")
def show_closed(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(closed).encode()]


@route("/thread-of-each-step")
def thread_of_each_step(environ, start_response):
    threads = [threading.get_ident()]

    def steps():
        for _ in range(5):
            threads.append(threading.get_ident())
            yield b"."
            time.sleep(0.005)  # longer than a tick, so that a follower may take over the event loop
        yield str(len(set(threads))).encode()

    start_response("200 OK", TEXT)
    return steps()


@route("/keep-start-response")
def keep_start_response(environ, start_response):
    kept.append((start_response, start_response("200 OK", [*TEXT, ("X-Kept", "mine")])))
    return [b"kept"]


@route("/use-kept-start-response")
def use_kept_start_response(environ, start_response):
    tried = 0
    for stale_start, stale_write in kept:
        for misuse in (
            lambda start=stale_start: start("418 Stale", [("X-Stale", "yes")]),
            lambda write=stale_write: write(b"stale bytes"),
        ):
            tried += 1
            try:
                misuse()
            except Exception as error:
                environ["wsgi.errors"].write(f"a stale call was refused: {error!r}\n")
    start_response("200 OK", [*TEXT, ("X-Own", "yes")])
    return [b"own %d" % tried]


@route("/keep-weak-references")
def keep_weak_references(environ, start_response):
    write = start_response("200 OK", TEXT)
    functions = (start_response, write, environ["lockgate.client_disconnected"])
    index = int(environ["QUERY_STRING"])
    weak[:] = [weakref.ref(functions[index])]
    return [type(functions[index]).__name__.encode()]


@route("/follow-weak-references")
def follow_weak_references(environ, start_response):
    start_response("200 OK", TEXT)
    return [repr([reference() for reference in weak]).encode()]


@route("/errors")
def errors(environ, start_response):
    stream = environ["wsgi.errors"]
    stream.write("a written note\n")
    stream.writelines(["a first listed note\n", "a second listed note\n"])
    stream.write("a note with a snowman \u2603\n")
    stream.flush()
    start_response("200 OK", TEXT)
    return [b"noted"]


@route("/errors-of-client")
def errors_of_client(environ, start_response):
    """Writes what the client sends, as a view that prints it does."""
    text = environ["wsgi.input"].read().decode("utf-8", "surrogateescape")
    stream = environ["wsgi.errors"]
    stream.write("begin ")
    print(text, file=stream)
    stream.write(text)
    if environ["QUERY_STRING"] == "flush":
        stream.flush()
    start_response("200 OK", TEXT)
    return [b"noted"]


@route("/remember")
def remember(environ, start_response):
    before = remembered.get()
    remembered.set(environ["QUERY_STRING"])
    start_response("200 OK", TEXT)
    return [f"{before} then {remembered.get()}".encode()]


@route("/remember-in-stream")
def remember_in_stream(environ, start_response):
    remembered.set("set in the call")
    start_response("200 OK", TEXT)

    def stream():
        yield remembered.get().encode()

    return stream()


@route("/headers")
def headers(environ, start_response):
    listed = [
        (pair.partition("=")[0], pair.partition("=")[2])
        for pair in environ["QUERY_STRING"].split("&")
        if pair
    ]
    start_response("200 Fine And Dandy", listed)
    return [b"abc"]


def validated_inner(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    stream = environ["wsgi.input"]
    read = stream.read(2) + stream.readline() + b"".join(stream.readlines()) + b"".join(stream)
    environ["wsgi.errors"].write("validated\n")
    environ["wsgi.errors"].flush()
    return [read, b"!"]


ROUTES["/validated"] = validator(validated_inner)
