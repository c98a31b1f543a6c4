"""Requests of `tests/unsafe_ffi.py`: they reach each unsafe function of lockgate-python."""

import contextvars
import ctypes
import gc
import threading
import time
import weakref

TEXT = [("Content-Type", "text/plain")]
ROUTES = {}
kept = []


def app(environ, start_response):
    name = environ["PATH_INFO"].rpartition("/")[2]
    return ROUTES[name](environ, start_response)


def route(function):
    ROUTES[function.__name__] = function
    return function


@route
def hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello"]


@route
def headers(environ, start_response):
    """Positional arguments, keywords, and arguments that are refused."""
    for arguments, keywords in (
        ((), {}),
        (("200 OK",), {}),
        (("200 OK", TEXT, None, None), {}),
        (("200 OK", TEXT), {"headers": TEXT}),
        (("200 OK", TEXT), {"other": TEXT}),
        ((b"200 OK", TEXT), {}),
        (("200 OK", [("X-\u2603", "a")]), {}),
        (("200 OK", [("X-A", "\ud800")]), {}),
        (("200 OK", 7), {}),
    ):
        try:
            start_response(*arguments, **keywords)
        except (TypeError, ValueError):
            gc.collect()
        else:
            raise AssertionError(arguments)
    start_response(headers=[("X-Latin-1", "caf\xe9"), ("X-A", "a" * 5000)], status="200 \xe9t\xe9")
    return [environ["HTTP_X_SENT"].encode("latin-1")]


@route
def keep(environ, start_response):
    write = start_response("200 OK", TEXT)
    functions = (start_response, write, environ["lockgate.client_disconnected"])
    kept.append(functions if len(kept) % 2 else [weakref.ref(each) for each in functions])
    return [b"kept"]


@route
def use_kept(environ, start_response):
    for functions in kept:
        for function in functions:
            function = function() if isinstance(function, weakref.ref) else function
            for arguments in ((), (b"late",), ("200 OK", TEXT)):
                try:
                    if function is not None:
                        function(*arguments)
                except (TypeError, RuntimeError):
                    pass
    kept.clear()
    gc.collect()
    return hello(environ, start_response)


@route
def large(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"x" * 1_000_000, b"y" * 4096, b"z"]


@route
def pieces(environ, start_response):
    start_response("200 OK", TEXT)
    for _ in range(100):
        yield b"x" * 100_000


@route
def write(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"a" * 10_000)
    thread = threading.Thread(target=write, args=(b"b" * 10_000,))
    thread.start()
    thread.join()
    return [b"c" * 10_000]


@route
def file(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


@route
def broken_file(environ, start_response):
    start_response("200 OK", TEXT)
    file = open(__file__, "rb")
    file.close()
    return environ["wsgi.file_wrapper"](file)


@route
def context(environ, start_response):
    """Enters a context by hand and does not leave it: the server's own exit fails."""
    if ctypes.pythonapi.PyContext_Enter(ctypes.py_object(contextvars.copy_context())):
        raise AssertionError("the context was not entered")
    return hello(environ, start_response)


@route
def late(environ, start_response):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        pass
    return hello(environ, start_response)


@route
def read(environ, start_response):
    stream = environ["wsgi.input"]
    sizes = [len(stream.read(size)) for size in (1, 10, 100_000, 1_000_000, -1)]
    start_response("200 OK", TEXT)
    return [b"%d" % sum(sizes)]


@route
def lines(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"%d" % sum(map(len, environ["wsgi.input"]))]
