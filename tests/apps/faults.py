"""What an application may do wrong. Each path is one fault; the server has to survive all."""

import os
import sys

TEXT = [("Content-Type", "text/plain")]
ROUTES = {}


def fault(path):
    def keep(function):
        ROUTES[path] = function
        return function

    return keep


def app(environ, start_response):
    return ROUTES[environ["PATH_INFO"]](environ, start_response)


@fault("/pid")
def pid(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(os.getpid()).encode()]


@fault("/empty-then-raise")
def empty_then_raise(environ, start_response):
    start_response("200 OK", TEXT)
    yield b""
    raise ValueError("raised after an empty piece")


@fault("/short")
def short(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    return [b"1234"]


@fault("/short-empty")
def short_empty(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    return []


@fault("/short-generator")
def short_generator(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    yield b"12"
    yield b"34"


@fault("/long")
def long(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "4")])
    return [b"1234567890"]


@fault("/long-large")
def long_large(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "4")])
    return [b"1234" + b"x" * 4996]


@fault("/long-large-generator")
def long_large_generator(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "4")])
    yield b"1234" + b"x" * 4996


@fault("/long-large-written")
def long_large_written(environ, start_response):
    write = start_response("200 OK", [*TEXT, ("Content-Length", "4")])
    write(b"1234" + b"x" * 4996)
    return []


@fault("/long-generator")
def long_generator(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "4")])
    yield b"12"
    yield b"345"
    yield b"6789"


@fault("/long-written")
def long_written(environ, start_response):
    write = start_response("200 OK", [*TEXT, ("Content-Length", "4")])
    write(b"123")
    write(b"456")
    return []


@fault("/raise-before")
def raise_before(environ, start_response):
    raise ValueError("raised before start_response")


@fault("/raise-after-start")
def raise_after_start(environ, start_response):
    start_response("200 OK", TEXT)
    raise ValueError("raised after start_response")


@fault("/raise-midstream")
def raise_midstream(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"some data"
    raise ValueError("raised in the stream")


@fault("/raise-midstream-length")
def raise_midstream_length(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "100")])
    yield b"some data"
    raise ValueError("raised in the stream")


@fault("/raise-in-close")
def raise_in_close(environ, start_response):
    start_response("200 OK", TEXT)

    class Body(list):
        def close(self):
            raise ValueError("raised in close")

    return Body([b"whole"])


@fault("/start-twice")
def start_twice(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return [b"never"]


@fault("/never-start")
def never_start(environ, start_response):
    return [b"a body without a head"]


@fault("/never-start-empty")
def never_start_empty(environ, start_response):
    return []


@fault("/none")
def none(environ, start_response):
    start_response("200 OK", TEXT)
    return None


@fault("/str-body")
def str_body(environ, start_response):
    start_response("200 OK", TEXT)
    return ["text"]


@fault("/str-iterated")
def str_iterated(environ, start_response):
    start_response("200 OK", TEXT)
    return "text"


@fault("/str-midstream")
def str_midstream(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"bytes"
    yield "text"


@fault("/system-exit")
def system_exit(environ, start_response):
    sys.exit("an application wanted to leave")


@fault("/keyboard-interrupt")
def keyboard_interrupt(environ, start_response):
    raise KeyboardInterrupt


@fault("/generator-exit")
def generator_exit(environ, start_response):
    raise GeneratorExit


@fault("/base-exception")
def base_exception(environ, start_response):
    class Fatal(BaseException):
        pass

    raise Fatal("an exception outside Exception")


@fault("/stop-iteration")
def stop_iteration(environ, start_response):
    raise StopIteration


@fault("/system-exit-in-generator")
def system_exit_in_generator(environ, start_response):
    start_response("200 OK", TEXT)
    sys.exit(3)
    yield b""


BAD_STATUS = {
    "no-space": "200OK",
    "two-digits": "20 OK",
    "four-digits": "2000 OK",
    "letters": "abc OK",
    "interim": "100 Continue",
    "switching": "101 Switching Protocols",
    "crlf": "200 OK\r\nX-Injected: status",
    "lf": "200 OK\nX-Injected: status",
    "nul": "200 O\x00K",
    "not-latin-1": "200 \u2603",
    "bytes": b"200 OK",
    "integer": 200,
}
BAD_HEADERS = {
    "value-crlf": [("X-A", "a\r\nX-Injected: value")],
    "value-lf": [("X-A", "a\nX-Injected: value")],
    "value-cr": [("X-A", "a\rX-Injected: value")],
    "value-nul": [("X-A", "secret\x00")],
    "value-control": [("X-A", "secret\x01")],
    "value-not-latin-1": [("X-A", "\u2603")],
    "value-bytes": [("X-A", b"bytes")],
    "value-integer": [("X-A", 1)],
    "value-none": [("X-A", None)],
    "name-crlf": [("X-A\r\nX-Injected: name", "a")],
    "name-space": [("X A", "a")],
    "name-colon": [("X-A:", "a")],
    "name-empty": [("", "a")],
    "name-not-latin-1": [("X-\u2603", "a")],
    "name-bytes": [(b"X-A", "a")],
    "pair-of-three": [("X-A", "a", "b")],
    "string-pair": ["ab"],
    "none": None,
    "string": "X-A: a",
    "number": 5,
    "mapping": {"X-A": "a"},
    "pair-of-one": [["X-A"]],
    "set-pair": [{"X-A", "a"}],
    "second-of-two": [("X-B", "b"), ("X-A", "\u2603")],
    "length-inner-space": [("Content-Length", "1 3")],
    "lengths-differ": [("Content-Length", "3"), ("Content-Length", "4")],
    "length-text": [("Content-Length", "three")],
    "length-signed": [("Content-Length", "+3")],
    "length-negative": [("Content-Length", "-3")],
}


@fault("/bad-status")
def bad_status(environ, start_response):
    start_response(BAD_STATUS[environ["QUERY_STRING"]], TEXT)
    return [b"abc"]


@fault("/bad-headers")
def bad_headers(environ, start_response):
    start_response("200 OK", BAD_HEADERS[environ["QUERY_STRING"]])
    return [b"abc"]


class Text(str):
    """A subclass of str, as some frameworks give."""


TOLERATED = {
    "status-without-a-reason": ("200", [("X-A", "a")]),
    "status-with-an-empty-reason": ("200 ", [("X-A", "a")]),
    "length-with-white-space": ("200 OK", [("X-A", "a"), ("Content-Length", " 3 ")]),
    "tuple": ("200 OK", (("X-A", "a"), ("X-B", "b"))),
    "list-pairs": ("200 OK", [["X-A", "a"], ("X-B", "b")]),
    "items": ("200 OK", {"X-A": "a", "X-B": "b"}.items()),
    "generator": ("200 OK", lambda: ((name, name[-1].lower()) for name in ("X-A", "X-B"))),
    "subclasses": (Text("200 OK"), [(Text("X-A"), Text("a"))]),
}


@fault("/tolerated")
def tolerated(environ, start_response):
    status, headers = TOLERATED[environ["QUERY_STRING"]]
    start_response(status, headers() if callable(headers) else headers)
    return [b"abc"]


@fault("/headers-that-start-again")
def headers_that_start_again(environ, start_response):
    def headers():
        start_response("200 OK", [("X-A", "a")])
        yield "X-B", "b"

    start_response("200 OK", headers())
    return [b"never"]


@fault("/bad-headers-with-exc-info")
def bad_headers_with_exc_info(environ, start_response):
    start_response("200 OK", [("X-A", "first")])
    try:
        raise ValueError("something went wrong")
    except ValueError:
        try:
            start_response("503 Replaced", BAD_HEADERS[environ["QUERY_STRING"]], sys.exc_info())
        except (TypeError, ValueError):
            pass
    return [b"neither the old head nor the new one is right"]


@fault("/upgrade-required")
def upgrade_required(environ, start_response):
    start_response(
        "426 Upgrade Required",
        [*TEXT, ("Upgrade", "websocket"), ("Connection", environ["QUERY_STRING"])],
    )
    return [b"upgrade"]


@fault("/long-exception")
def long_exception(environ, start_response):
    raise ValueError("begin " + "x" * 3_000_000 + " end")


@fault("/hop-by-hop")
def hop_by_hop(environ, start_response):
    headers = [
        ("Transfer-Encoding", "chunked"),
        ("Keep-Alive", "timeout=99"),
        ("Proxy-Authenticate", "Basic"),
        ("TE", "trailers"),
        ("Trailer", "X-A"),
        ("Upgrade", "h2c"),
        ("X-Kept", "yes"),
        ("Content-Length", "4"),
    ]
    start_response("200 OK", headers)
    return [b"body"]


@fault("/connection-close")
def connection_close(environ, start_response):
    start_response("200 OK", [*TEXT, ("Connection", "close")])
    return [b"bye"]


@fault("/late-exc-info")
def late_exc_info(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"already sent"
    try:
        raise ValueError("noticed too late")
    except ValueError:
        start_response("500 Too Late", TEXT, sys.exc_info())
        yield b"never sent"


@fault("/body-in-204")
def body_in_204(environ, start_response):
    start_response("204 No Content", [])
    return [b"a body where none may be"]


@fault("/body-in-304")
def body_in_304(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"a"')])
    return [b"a body where none may be"]


@fault("/exit")
def leave(environ, start_response):
    os._exit(7)
