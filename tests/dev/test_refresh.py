"""The script in pages, as a server sees the application around which the middleware is."""

import gzip
import re
import sys

import pytest
from lockgate.dev.middleware.messages import Messages
from lockgate.dev.middleware.refresh import Refresh

HTML = ("Content-Type", "text/html")
NAVIGATION = {"HTTP_SEC_FETCH_DEST": "document"}


class Exchange:
    """One request, as PEP 3333 lets a server run it."""

    def __init__(self, application, path="/", method="GET", **headers):
        self.environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "HTTP_HOST": "localhost:8000",
            "wsgi.url_scheme": "http",
            "HTTP_ACCEPT": "text/html,*/*;q=0.8",
            **headers,
        }
        self.head = None
        self.sent = []
        refresh = Refresh(application, "7", Messages(False))
        self.result = refresh(self.environ, self.start_response)
        for piece in self.result:
            if piece:
                assert self.head, "a piece comes before the head"
                self.sent.append(piece)
        if hasattr(self.result, "close"):
            self.result.close()

    def start_response(self, status, headers, exc_info=None):
        if exc_info and self.sent:
            raise exc_info[1]
        assert exc_info or not self.head, "start_response is called twice"
        self.head = (status, headers)
        return self.sent.append

    @property
    def status(self):
        return self.head[0]

    def header(self, name):
        found = [value for key, value in self.head[1] if key.lower() == name.lower()]
        assert len(found) < 2, found
        return found[0] if found else None

    @property
    def body(self):
        return b"".join(self.sent)


def answers(*pieces, status="200 OK", headers=(HTML,)):
    def application(environ, start_response):
        start_response(status, list(headers))
        return list(pieces)

    return application


def script(method="GET", page="application", mount=""):
    return (
        rb'<script src="' + mount.encode() + rb'/.lockgate/refresh.js\?[0-9a-f]{12}" '
        rb'data-generation="7" data-method="' + method.encode() + rb'" '
        rb'data-page="' + page.encode() + rb'" defer></script>'
    )


def test_a_page_has_the_script_and_its_length():
    exchange = Exchange(answers(b"<body>a</body>", headers=[HTML, ("Content-Length", "14")]))
    assert re.fullmatch(rb"<body>a" + script() + rb"</body>", exchange.body)
    assert exchange.header("Content-Length") == str(len(exchange.body))


def test_a_list_has_a_length_and_a_stream_keeps_flowing():
    assert Exchange(answers(b"<html>", b"</html>")).header("Content-Length")
    moments = []

    def stream(environ, start_response):
        start_response("200 OK", [HTML])
        for piece in (b"<html>", b"", b"a", b"</html>"):
            moments.append(len(exchange_sent))
            yield piece

    exchange_sent = []
    refresh = Refresh(stream, "7", Messages(False))
    heads = []

    def start(status, headers, exc_info=None):
        heads.append(headers)

    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_HOST": "a", "wsgi.url_scheme": "http",
        "HTTP_ACCEPT": "text/html",
    }  # fmt: skip
    for piece in refresh(environ, start):
        assert heads, "a piece comes before the head"
        exchange_sent.append(piece)
    # Each piece was sent before the next one was asked for, the empty one included.
    assert moments == [0, 1, 2, 3]
    assert heads == [[HTML]]


def test_what_is_written_is_sent_at_once():
    def application(environ, start_response):
        write = start_response("200 OK", [HTML, ("Content-Length", "19")])
        write(b"<html>a")
        write(b"b")
        return [b"c</body></html>"]

    exchange = Exchange(application)
    assert exchange.sent[:2] == [b"<html>a", b"b"]
    assert exchange.header("Content-Length") is None
    assert exchange.body.startswith(b"<html>abc<script ")
    assert exchange.body.endswith(b"</script></body></html>")


def test_an_error_replaces_a_page_that_waits():
    def application(environ, start_response):
        start_response("200 OK", [HTML, ("Content-Length", "100")])
        yield b"<html>"
        try:
            raise ValueError("late")
        except ValueError:
            start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())
        yield b"oops"

    exchange = Exchange(application)
    assert (exchange.status, exchange.body) == ("500 Oops", b"oops")


def test_the_body_is_closed_also_if_it_was_not_asked_for():
    closed = []

    class Body:
        def __iter__(self):
            return iter([b"<html>"])

        def close(self):
            closed.append(True)

    def application(environ, start_response):
        start_response("200 OK", [HTML])
        return Body()

    Exchange(application)
    result = Refresh(application, "7", Messages(False))(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.url_scheme": "http", **NAVIGATION},
        lambda *_: None,
    )
    result.close()
    assert closed == [True, True]


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Type", "text/plain")],
        [HTML, ("Content-Disposition", "attachment")],
        [HTML, ("Content-Encoding", "br")],
        [HTML, ("Content-Security-Policy", "script-src 'none'")],
    ],
)
def test_other_responses_are_the_application_s_own(headers):
    application = answers(b"<html>", headers=headers)
    exchange = Exchange(application)
    assert exchange.head == ("200 OK", headers)
    assert exchange.body == b"<html>"
    assert isinstance(exchange.result, list)


@pytest.mark.parametrize(
    "headers, body, has_script",
    [
        ({"HTTP_SEC_FETCH_DEST": "document"}, b"a", True),
        ({"HTTP_SEC_FETCH_DEST": "empty"}, b"<html>", False),
        ({"HTTP_SEC_FETCH_DEST": "iframe"}, b"<html>", False),
        ({"HTTP_HX_REQUEST": "true"}, b"<html>", False),
        ({"HTTP_X_REQUESTED_WITH": "XMLHttpRequest"}, b"<html>", False),
        ({}, b"<!doctype html><p>a", True),
        ({"HTTP_ACCEPT": "*/*"}, b"<!doctype html><p>a", False),
        ({"HTTP_ACCEPT": "application/json"}, b"<!doctype html><p>a", False),
        ({"HTTP_ACCEPT": ""}, b"<!doctype html><p>a", False),
        ({"HTTP_ACCEPT": "*/*", **NAVIGATION}, b"a", True),
        ({}, b"<li>a</li>", False),
    ],
)
def test_only_what_a_browser_shows_has_the_script(headers, body, has_script):
    exchange = Exchange(answers(body), **headers)
    assert (b"refresh.js" in exchange.body) is has_script


def test_requests_for_a_part_are_passed_on_unless_a_page_is_asked_for():
    asked = {
        "HTTP_RANGE": "bytes=0-1",
        "HTTP_IF_RANGE": '"a"',
        "HTTP_IF_MODIFIED_SINCE": "Sun, 29 Nov 2026 20:00:00 GMT",
        "HTTP_IF_NONE_MATCH": '"a"',
        "HTTP_ACCEPT_ENCODING": "br",
    }
    video = Exchange(
        answers(b"a", headers=[("Content-Type", "video/mp4")]), HTTP_ACCEPT="*/*", **asked
    )
    assert asked.items() <= video.environ.items()
    page = Exchange(answers(b"a"), **asked)
    assert set(asked) & set(page.environ) == {"HTTP_ACCEPT_ENCODING"}


def test_a_head_request_has_no_length_of_another_page():
    headers = [HTML, ("Content-Length", "14"), ("ETag", '"a"')]
    exchange = Exchange(answers(b"<html><body>a", headers=headers), method="HEAD")
    assert b"refresh.js" not in exchange.body
    assert (exchange.header("Content-Length"), exchange.header("ETag")) == (None, '"a-lockgate-7"')


@pytest.mark.parametrize(
    "tag, status",
    [
        ('"a-lockgate-7"', "304"),
        ('W/"a-lockgate-7"', "304"),
        ('"a-lockgate-6"', "200"),
        ('"a"', "200"),
    ],
)
def test_a_304_stands_for_the_page_of_this_version(tag, status):
    def application(environ, start_response):
        assert "HTTP_IF_MODIFIED_SINCE" not in environ
        known = environ.get("HTTP_IF_NONE_MATCH", "")
        fresh = known.removeprefix("W/") == '"a"'
        start_response("304 Not Modified" if fresh else "200 OK", [HTML, ("ETag", '"a"')])
        return [] if fresh else [b"<html>"]

    exchange = Exchange(
        application, HTTP_IF_NONE_MATCH=tag, HTTP_IF_MODIFIED_SINCE="x", **NAVIGATION
    )
    assert exchange.status[:3] == status
    assert exchange.header("ETag") == '"a-lockgate-7"'
    assert (b"script" in exchange.body) is (status == "200")


def test_a_compressed_page_is_opened_and_others_are_asked_for_as_gzip():
    codings = []

    def application(environ, start_response):
        codings.append(environ.get("HTTP_ACCEPT_ENCODING"))
        body = gzip.compress(b"<body>a</body>")
        headers = [HTML, ("Content-Encoding", "gzip"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]

    exchange = Exchange(application, HTTP_ACCEPT_ENCODING="gzip, deflate, br, zstd")
    assert exchange.body.startswith(b"<body>a<script")
    assert exchange.header("Content-Encoding") is None
    assert exchange.header("Content-Length") == str(len(exchange.body))
    Exchange(application, HTTP_ACCEPT_ENCODING="br")
    assert codings == ["gzip", "identity"]


def test_the_script_and_the_stream_of_versions_are_below_the_mount_point():
    exchange = Exchange(answers(b"<html>"), SCRIPT_NAME="/caf\u00c3\u00a9")
    assert b'src="/caf%C3%A9/.lockgate/refresh.js' in exchange.body
    loaded = Exchange(answers(b"own"), path="/.lockgate/refresh.js")
    assert (
        loaded.header("Content-Type").startswith("text/javascript")
        and b"EventSource" in loaded.body
    )
    assert Exchange(answers(b"own"), path="/.lockgate/version").body == b"7"
    stream = Exchange(answers(b"own"), path="/.lockgate/refresh")
    assert stream.body == b"retry: 100\ndata: 7\n\n"
    assert (stream.header("Grip-Hold"), stream.header("Grip-Channel")) == ("stream", "lockgate-dev")
    assert Exchange(answers(b"own"), path="/.lockgate/other").body == b"own"
