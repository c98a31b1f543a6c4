"""write() while the body is iterated over, and where it is refused: /refusals shows the errors."""

import json
import os
import tempfile
import threading
import time

TEXT = [("Content-Type", "text/plain")]
ROUTES = {}
refusals = []
ended = []


def route(path):
    def keep(function):
        ROUTES[path] = function
        return function

    return keep


def app(environ, start_response):
    return ROUTES[environ["PATH_INFO"]](environ, start_response)


def refused(write):
    try:
        write(b"never sent")
    except RuntimeError as error:
        refusals.append(str(error))
    else:
        refusals.append("it was not refused")


@route("/refusals")
def show_refusals(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    body = [json.dumps(refusals).encode()]
    refusals.clear()
    return body


@route("/ended")
def show_ended(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(ended).encode()]


@route("/mixed")
def mixed(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"one ")

    def pieces():
        write(b"two ")
        yield b"three "
        write(b"four ")
        write(b"five ")
        yield b""
        write(b"six ")

    return pieces()


@route("/only-written")
def only_written(environ, start_response):
    write = start_response("200 OK", TEXT)
    for number in range(3):
        write(b"%d " % number)
    if environ.get("never"):
        yield b""


@route("/written-in-iter")
def written_in_iter(environ, start_response):
    class Body:
        def __iter__(self):
            write(b"one ")
            return iter([b"two"])

    write = start_response("200 OK", TEXT)
    return Body()


@route("/counted")
def counted(environ, start_response):
    write = start_response("200 OK", [*TEXT, ("Content-Length", environ["QUERY_STRING"])])
    write(b"1234")
    yield b"56"
    write(b"789")


@route("/failing")
def failing(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"begun")
    raise ValueError("raised after a write in the iteration")
    yield b""


@route("/large")
def large(environ, start_response):
    write = start_response("200 OK", TEXT)
    for number in range(40):
        write(b"%03d" % number * 33_333)
        yield b"|"


@route("/endless")
def endless(environ, start_response):
    write = start_response("200 OK", TEXT)
    try:
        while True:
            write(b"x" * 65536)
            yield b""
    finally:
        ended.append("endless")


@route("/in-close")
def in_close(environ, start_response):
    class Body:
        def __iter__(self):
            return iter([b"whole"])

        def close(self):
            refused(write)

    write = start_response("200 OK", TEXT)
    return Body()


@route("/later")
def later(environ, start_response):
    kept = list(ROUTES.setdefault("kept", []))
    for write in kept:
        refused(write)
    ROUTES["kept"].append(start_response("200 OK", TEXT))
    return [b"%d" % len(kept)]


@route("/other-thread")
def other_thread(environ, start_response):
    write = start_response("200 OK", TEXT)

    def pieces():
        yield b"one "
        thread = threading.Thread(target=refused, args=[write])
        thread.start()
        thread.join()
        yield b"two"

    return pieces()


@route("/endless-announced")
def endless_announced(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    try:
        while True:
            yield b"12345"
    finally:
        ended.append("endless-announced")


@route("/empty")
def empty(environ, start_response):
    """Nothing but empty pieces, until its client has gone or the file of the query is there."""
    start_response("200 OK", TEXT)
    open(environ["QUERY_STRING"] + ".begun", "w").close()
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if os.path.exists(environ["QUERY_STRING"]):
                yield b"it is there"
                return
            time.sleep(0.005)
            yield b""
        ended.append("too late")
    except GeneratorExit:
        ended.append("empty")
        raise


@route("/file-after-write")
def file_after_write(environ, start_response):
    write = start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    write(b"12345")
    file = tempfile.TemporaryFile()
    file.write(b"abcdefghij" * 10_000)
    file.seek(0)
    return environ["wsgi.file_wrapper"](file)


@route("/file-that-fails")
def file_that_fails(environ, start_response):
    class File:
        def __init__(self):
            self.pieces = [b"queued and not sent"]

        def read(self, size):
            if not self.pieces:
                raise ValueError("raised at the second read")
            return self.pieces.pop()

    start_response("200 OK", [*TEXT, ("X-Begun", "yes")])
    return environ["wsgi.file_wrapper"](File())
