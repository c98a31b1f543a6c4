"""The middleware as PEP 3333 sees it: each shape of application, checked by wsgiref's validator."""

from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from harness.session_site import SECRET
from lockgate.sessions import SessionMiddleware
from lockgate.sessions.keyring import Keyring

HEADERS = [("Content-Type", "text/plain")]


def call(application, cookie=None, validates=True):
    """The status, the headers and the body."""
    environ = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)
    if cookie is not None:
        environ["HTTP_COOKIE"] = cookie
    heads = []
    written = []

    def start_response(status, headers, exc_info=None):
        if exc_info and heads and written:
            raise exc_info[1]
        heads.append((status, headers))
        return written.append

    wrapped = SessionMiddleware(validator(application) if validates else application, secret=SECRET)
    body = (validator(wrapped) if validates else wrapped)(environ, start_response)
    try:
        for piece in body:
            assert heads, "the body begins before the head"
            written.append(piece)
    finally:
        if hasattr(body, "close"):
            body.close()
    status, headers = heads[-1]
    return status, headers, b"".join(written)


def cookies(headers):
    return [value.partition("=")[0] for name, value in headers if name == "Set-Cookie"]


def listed(environ, start_response):
    start_response("200 OK", list(HEADERS))
    # After start_response, before the body.
    environ["lockgate.session"]["user"] = "ann"
    return [b"a", b"b"]


def generated(environ, start_response):
    start_response("200 OK", list(HEADERS))
    environ["lockgate.session"]["user"] = "ann"
    yield b"a"
    yield b"b"


def generated_without_a_piece(environ, start_response):
    start_response("200 OK", list(HEADERS))
    environ["lockgate.session"]["user"] = "ann"
    return
    yield


def written(environ, start_response):
    write = start_response("200 OK", list(HEADERS))
    environ["lockgate.session"]["user"] = "ann"
    write(b"a")
    write(b"b")
    return []


def replaced(environ, start_response):
    start_response("500 Oops", list(HEADERS))
    environ["lockgate.session"]["user"] = "ann"
    try:
        raise ValueError
    except ValueError:
        import sys

        start_response("200 OK", list(HEADERS), sys.exc_info())
    return [b"ab"]


@pytest.mark.parametrize(
    "application, expected",
    [
        (listed, b"ab"),
        (generated, b"ab"),
        (generated_without_a_piece, b""),
        (written, b"ab"),
        (replaced, b"ab"),
    ],
)
def test_each_shape_of_an_application_sets_the_cookie(application, expected):
    status, headers, body = call(application)
    assert (status, body, cookies(headers)) == ("200 OK", expected, ["session"])


def test_a_change_after_the_response_has_begun_is_an_error():
    def late(environ, start_response):
        start_response("200 OK", list(HEADERS))
        yield b"a"
        environ["lockgate.session"]["user"] = "ann"

    with pytest.raises(RuntimeError, match="saved when the response begins"):
        call(late)


def test_the_body_is_the_applications_own_object():
    body = [b"a"]

    def application(environ, start_response):
        start_response("200 OK", list(HEADERS))
        return body

    wrapped = SessionMiddleware(application, secret=SECRET)
    environ = {}
    setup_testing_defaults(environ)
    assert wrapped(environ, lambda *_: None) is body


def test_a_body_whose_session_cannot_be_saved_is_closed():
    closed = []

    class Body:
        def __iter__(self):
            return iter([b"a"])

        def close(self):
            closed.append(True)

    def application(environ, start_response):
        environ["lockgate.session"]["x"] = "x" * 5000
        start_response("200 OK", list(HEADERS))
        return Body()

    with pytest.raises(ValueError, match="browsers keep 4,096"):
        call(application, validates=False)
    assert closed == [True]


def test_an_exception_of_the_application_passes():
    def application(environ, start_response):
        environ["lockgate.session"]["user"] = "ann"
        raise KeyError("x")

    with pytest.raises(KeyError):
        call(application, validates=False)


#: Arguments that are refused when the application is made.
MISTAKES = {
    "no secret": ({}, "need secret="),
    "both": ({"secret": SECRET, "secrets": [SECRET]}, "one of them"),
    "a short secret": ({"secret": "short"}, "at least 32 bytes"),
    "a short old secret": ({"secrets": [SECRET, "short"]}, "at least 32 bytes"),
    "no secrets": ({"secrets": []}, "need a secret"),
    "a text in place of a list": ({"secrets": SECRET}, "secrets is a list"),
    "a name with a space": ({"secret": SECRET, "name": "a b"}, "no name of a cookie"),
    "a path with a semicolon": ({"secret": SECRET, "path": "/;x"}, "no value of a cookie"),
    "same_site in lower case": ({"secret": SECRET, "same_site": "lax"}, "same_site is one of"),
    "same_site without secure": (
        {"secret": SECRET, "same_site": "None", "secure": False},
        "needs secure cookies",
    ),
    "an unknown store": ({"secret": SECRET, "store": "memcached://x"}, "is no store"),
    "a database with a name": ({"secret": SECRET, "store": "redis://x/y"}, "is a number"),
    "no lifetime": ({"secret": SECRET, "idle_lifetime": 0}, "is positive"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_reported_at_the_start(mistake):
    arguments, message = MISTAKES[mistake]
    with pytest.raises((TypeError, ValueError), match=message):
        SessionMiddleware(listed, **arguments)


def test_a_cookie_of_an_earlier_version_opens():
    """Sealed once, and opened with another implementation of HKDF and AES-GCM."""
    sealed = "-gFD0DmQnApBDm0zUqk3PsDnnvCiqm6EK9w-v7QRlJRH0CJ6Sy4IDQOmp5QsMzFC8SRtHeetda8vaScvZyE"
    found = Keyring(["s" * 32]).open(sealed, "session")
    assert found == (b'[1,2,0,{"user":"ann"}]', True)
