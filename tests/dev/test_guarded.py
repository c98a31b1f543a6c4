"""An exception of an application becomes a page until the first byte of its response is sent."""

import pytest
from lockgate.dev.options import Options
from lockgate.dev.serving import Guarded

HEAD = ("200 OK", [("Content-Type", "text/plain")])


def raises(environ, start_response):
    raise KeyError("fault")


def generates(environ, start_response):
    raise KeyError("fault")
    yield b""


def starts(environ, start_response):
    start_response(*HEAD)
    yield b""
    raise KeyError("fault")


def sends(environ, start_response):
    start_response(*HEAD)
    yield b"a"
    raise KeyError("fault")


def writes(environ, start_response):
    start_response(*HEAD)(b"a")
    raise KeyError("fault")


def exchange(application):
    """The last head, and the pieces that were sent before the application failed, if it did."""
    heads, sent, failed = [], [], False

    def start(status, headers, exc_info=None):
        if heads and exc_info is None:
            raise AssertionError("a second head needs exc_info")
        heads.append(status)
        return sent.append

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    try:
        body = Guarded(application, Options())(environ, start)
        sent += body
        getattr(body, "close", lambda: None)()
    except KeyError:
        failed = True
    return heads[-1], b"".join(sent).decode(), failed


@pytest.mark.parametrize("application", [raises, generates, starts])
def test_before_the_first_byte_the_exception_is_a_page(capsys, application):
    status, body, failed = exchange(application)
    assert (status, failed) == ("500 Internal Server Error", False)
    assert "KeyError: 'fault'" in body
    assert "GET / has raised an exception" in capsys.readouterr().err


@pytest.mark.parametrize("application", [sends, writes])
def test_later_the_server_has_the_exception(application):
    assert exchange(application) == ("200 OK", "a", True)
