"""What requests set is escaped in messages: a terminal obeys control characters, and a line break
would forge a line of the server."""

import io

import pytest
from lockgate.dev import failure, terminal
from lockgate.dev.middleware.messages import Messages
from lockgate.dev.middleware.validation import validate

#: PATH_INFO of %1b, %0a, %c2%9b, and others, and the message that shows it.
PATHS = {
    "/%1b[2J": ("/\x1b[2J", r"/\x1b[2J"),
    "/%0aFAKE": ("/\nFAKE", r"/\nFAKE"),
    "/%c2%9b": ("/\xc2\x9b", r"/\x9b"),
    "/%0d": ("/\r", r"/\r"),
    "/%7f": ("/\x7f", r"/\x7f"),
    "/%e2%80%ae": ("/\xe2\x80\xae", r"/\u202e"),
    "/%ff": ("/\xff", r"/\xff"),
    "/é": ("/\xc3\xa9", "/é"),
}


def has_controls(text):
    return any(not letter.isprintable() for letter in text.replace("\n", ""))


@pytest.mark.parametrize("path, shown", PATHS.values(), ids=PATHS)
def test_an_exception_shows_the_path_and_the_message_escaped(path, shown):
    def fails():
        raise ValueError(f"no\x1b]0;x\x07 {path}\r")

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path}
    try:
        fails()
    except ValueError as error:
        failed = failure.of_request(error, environ)
    text = terminal.block(failed, colour=False)
    assert text.splitlines()[0] == f"| GET {shown} has raised an exception"
    assert not has_controls(text)
    assert all(line.startswith("| ") for line in text.split("\n"))
    assert r"no\x1b]0;x\x07" in text


def test_a_report_without_an_exception_is_escaped():
    failed = failure.of_message("a\x1b", "b\n\tc\x1b")
    assert terminal.block(failed, colour=False) == "| a\\x1b\n| b\n| \tc\\x1b"


@pytest.mark.parametrize("path, shown", PATHS.values(), ids=PATHS)
def test_a_breach_of_pep_3333_shows_the_path_escaped(capsys, path, shown):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
        return [b"a"]

    environ = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
        "SERVER_NAME": "a", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(), "wsgi.multithread": True, "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }  # fmt: skip
    list(validate(application, Messages(False))(environ, lambda *_: lambda _: None))
    said = capsys.readouterr().err
    assert f"(GET {shown})" in said
    assert not has_controls(said)
