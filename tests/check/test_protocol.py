"""The WSGI validator by itself: a row for each breach, and rows of correct applications."""

import io
import sys
from pathlib import Path

import pytest
from lockgate.check import protocol
from lockgate.check.finding import Once

PLAIN = [("Content-Type", "text/plain")]


class Response:
    """A server in the small: it calls the application and keeps the response."""

    def __init__(self, application, method="GET", body=b""):
        self.findings = []
        self.head = None
        self.pieces = []
        self.environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
        }
        checked = protocol.validated(application, Once(self.findings.append))
        self.raised = None
        try:
            self.result = checked(self.environ, self.start_response)
            for piece in self.result:
                self.pieces.append(piece)
            if hasattr(self.result, "close"):
                self.result.close()
        except Exception as error:
            self.raised = error

    def start_response(self, status, headers, exc_info=None):
        if exc_info and any(self.pieces):
            raise exc_info[1]
        self.head = (status, headers)
        return self.pieces.append

    @property
    def rules(self):
        return sorted({finding.rule.id for finding in self.findings})


def answering(status="200 OK", headers=PLAIN, body=(b"x",)):
    def app(environ, start_response):
        start_response(status, headers)
        return body

    return app


def started(call):
    def app(environ, start_response):
        return call(environ, start_response) or [b""]

    return app


def with_headers(*headers):
    return answering(headers=[*PLAIN, *headers])


class Text(str):
    pass


class Lying(list):
    def __init__(self):
        super().__init__([b"x"])

    def __len__(self):
        return 2


class Sized:
    def __init__(self, pieces, says):
        self.pieces, self.says = pieces, says

    def __iter__(self):
        return iter(self.pieces)

    def __len__(self):
        return self.says


class Closing:
    def __init__(self, write=None):
        self.write = write

    def __iter__(self):
        return iter([b"x"])

    def close(self):
        if self.write is None:
            raise ValueError("twice")
        self.write(b"late")


def catching(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"x"
    try:
        raise ValueError("wrong")
    except ValueError:
        try:
            start_response("500 Failed", PLAIN, sys.exc_info())
        except ValueError:
            pass
    yield b"y"


def twice(environ, start_response):
    start_response("200 OK", PLAIN)
    start_response("200 OK", PLAIN)
    return [b"x"]


def late(environ, start_response):
    yield b"x"
    start_response("200 OK", PLAIN)


def by_keyword(environ, start_response):
    start_response(status="200 OK", headers=PLAIN)
    return [b"x"]


def with_false_exc_info(environ, start_response):
    start_response("200 OK", PLAIN, ValueError())
    return [b"x"]


def writing(piece):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)(piece)
        return []

    return app


def writing_in_close(environ, start_response):
    return Closing(start_response("200 OK", PLAIN))


def using(call):
    def app(environ, start_response):
        call(environ)
        start_response("200 OK", PLAIN)
        return [b"x"]

    return app


def length(value, body):
    return answering(headers=[*PLAIN, ("Content-Length", value)], body=body)


BREACHES = [
    ("status-type", answering(status=200)),
    ("status-type", answering(status=b"200 OK")),
    ("status-form", answering(status="OK")),
    ("status-form", answering(status="2000 OK")),
    ("status-form", answering(status="200 OK\r\nX: y")),
    ("status-form", answering(status="200 OK ")),
    ("status-reason", answering(status="200")),
    ("status-code", answering(status="100 Continue", body=[])),
    ("status-code", answering(status="600 Other")),
    ("headers-type", answering(headers=None)),
    ("headers-type", answering(headers="Content-Type: text/plain", body=[])),
    ("headers-list", answering(headers=tuple(PLAIN))),
    ("headers-list", answering(headers=dict(PLAIN).items(), body=[])),
    ("header-form", with_headers(("X-A", "1", "2"))),
    ("header-form", with_headers("X-A: 1")),
    ("header-tuple", with_headers(["X-A", "1"])),
    ("header-type", with_headers(("X-A", 1))),
    ("header-type", with_headers((b"X-A", "1"))),
    ("header-name", with_headers(("X A", "1"))),
    ("header-name", with_headers(("X-A:", "1"))),
    ("header-value", with_headers(("X-A", "1\r\nX-B: 2"))),
    ("latin-1", with_headers(("X-A", "\u20ac"))),
    ("latin-1", answering(status="200 \u20ac")),
    ("subclass", with_headers(("X-A", Text("1")))),
    ("subclass", answering(body=[type("Bytes", (bytes,), {})(b"x")])),
    ("status-header", with_headers(("Status", "200"))),
    ("hop-by-hop", with_headers(("Connection", "keep-alive"))),
    ("hop-by-hop", with_headers(("transfer-encoding", "chunked"))),
    ("hop-by-hop", with_headers(("Upgrade", "h2c"))),
    ("content-length-form", length("five", [b"fives"])),
    ("content-length-form", with_headers(("Content-Length", "1"), ("Content-Length", "1"))),
    ("content-type-missing", answering(headers=[])),
    ("exc-info", with_false_exc_info),
    ("start-response-missing", started(lambda environ, start_response: [b"x"])),
    ("start-response-missing", late),
    ("start-response-twice", twice),
    ("start-response-arguments", by_keyword),
    ("exc-info-trapped", catching),
    ("body-type", answering(body="text")),
    ("body-type", answering(body=b"bytes")),
    ("body-type", answering(body=None)),
    ("body-type", answering(body=5)),
    ("body-piece", answering(body=["text"])),
    ("body-piece", answering(body=iter([bytearray(b"x")]))),
    ("body-len", answering(body=Lying())),
    ("body-len", answering(body=Sized([b"x"], 3))),
    ("content-length-short", length("5", [b"four"])),
    ("content-length-long", length("3", iter([b"two", b"two"]))),
    ("body-forbidden", answering(status="204 No Content")),
    ("close", answering(body=Closing())),
    ("write", writing(b"x")),
    ("write-type", writing("x")),
    ("write-late", writing_in_close),
    ("input-close", using(lambda environ: environ["wsgi.input"].close())),
    ("errors-close", using(lambda environ: environ["wsgi.errors"].close())),
    ("errors-type", using(lambda environ: environ["wsgi.errors"].writelines([b"x"]))),
]

#: Rules of which a breach implies another.
IMPLIED = {"write-type": {"write"}, "write-late": {"write"}}


@pytest.mark.parametrize(("rule", "application"), BREACHES)
def test_a_breach_is_found_and_nothing_else(rule, application):
    response = Response(application)
    assert set(response.rules) == {rule} | IMPLIED.get(rule, set()), response.findings


def test_each_rule_has_a_row():
    rows = {rule for rule, _ in BREACHES}
    # It needs an application that keeps start_response; see below.
    assert {rule.id for rule in protocol.RULES} - rows == {"start-response-late"}


def test_a_call_after_the_response_is_late():
    kept = []

    def app(environ, start_response):
        kept.append(start_response)
        start_response("200 OK", PLAIN)
        return [b"x"]

    response = Response(app)
    assert response.rules == []
    with pytest.raises(ValueError):
        kept[0]("500 Failed", PLAIN, (ValueError, ValueError(), None))
    assert response.rules == ["start-response-late"]


def replacing(environ, start_response):
    start_response("200 OK", PLAIN)
    try:
        raise ValueError("wrong")
    except ValueError:
        start_response("500 Failed", PLAIN, sys.exc_info())
    return [b"x"]


def raising_again(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"x"
    try:
        raise ValueError("wrong")
    except ValueError:
        start_response("500 Failed", PLAIN, sys.exc_info())


def generating(environ, start_response):
    yield b""
    start_response("200 OK", [*PLAIN, ("Content-Length", "2")])
    yield b"x"
    yield b"y"


def reading(environ, start_response):
    stream = environ["wsgi.input"]
    got = [stream.read(1), stream.readline(), *stream.readlines(), *stream, stream.read()]
    environ["wsgi.errors"].write("read\n")
    start_response("200 OK", PLAIN)
    return [b"".join(got)]


CORRECT = [
    (answering(), "GET", [b"x"]),
    (answering(body=[]), "GET", []),
    (answering("204 No Content", [], []), "GET", []),
    (answering("304 Not Modified", [("Content-Length", "9")], []), "HEAD", []),
    (length("9", []), "HEAD", []),
    (answering("426 Upgrade Required", [*PLAIN, ("Upgrade", "websocket")]), "GET", [b"x"]),
    (with_headers(("X-A", "\xe4\tb"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")), "GET", [b"x"]),
    (answering(body=Sized([b"x"], 1)), "GET", [b"x"]),
    (generating, "GET", [b"", b"x", b"y"]),
    (replacing, "GET", [b"x"]),
    (reading, "POST", [b"one\ntwo\nthree"]),
]


@pytest.mark.parametrize(("application", "method", "pieces"), CORRECT)
def test_a_correct_application_is_passed_on_without_a_finding(application, method, pieces):
    response = Response(application, method, b"one\ntwo\nthree")
    assert response.findings == []
    assert response.raised is None
    assert response.pieces == pieces


def test_an_exception_that_is_raised_again_is_no_breach():
    response = Response(raising_again)
    assert response.findings == []
    assert isinstance(response.raised, ValueError)


def test_lists_and_files_reach_the_server_as_they_are():
    body = [b"x"]
    assert Response(answering(body=body)).result is body


def here(text):
    """The number of the line of this file that has the text."""
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip() == text)


def yielding(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"x"
    yield "text"


def calling(environ, start_response):
    start_response("600 Other", PLAIN)
    return [b"x"]


def returning(environ, start_response):
    start_response("200 OK", PLAIN)
    return "text"


@pytest.mark.parametrize(
    ("application", "line"),
    [
        (yielding, 'yield "text"'),
        (calling, 'start_response("600 Other", PLAIN)'),
        (returning, "def returning(environ, start_response):"),
    ],
)
def test_a_finding_has_its_line(application, line):
    [finding] = Response(application).findings
    assert Path(finding.place.file).name == Path(__file__).name
    assert finding.place.line == here(line)
    assert finding.request == "GET /"
    assert str(finding).endswith(f"[{finding.rule.id}; {finding.rule.paragraph.title}]")
