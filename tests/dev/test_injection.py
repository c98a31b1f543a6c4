"""What the script does to a page: its bytes, its head, and the policies that allow it."""

import gzip
import zlib

import pytest
from lockgate.dev.middleware.injection import (
    Injector,
    Page,
    Sealed,
    page_headers,
    page_of,
    without_mark,
)
from lockgate.dev.middleware.policy import Allowed, Forbidden, judge

ELEMENT = b"<script>"

#: A page in pieces, and what it becomes.
STREAMS = {
    "before the end of the body": (
        [b"<html><body>a</body></html>"],
        b"<html><body>a<script></body></html>",
    ),
    "in the piece with the end": (
        [b"<body>a", b"b</BODY ></html>\n"],
        b"<body>ab<script></BODY ></html>\n",
    ),
    "a comment behind the end": (
        [b"<body>a</body><!-- b -->"],
        b"<body>a<script></body><!-- b -->",
    ),
    "an end that is split": ([b"<body>a</bo", b"dy>"], b"<body>a</body><script>"),
    "an end inside a script": (
        [b"<body><script>'</body>'</script>", b"a"],
        b"<body><script>'</body>'</script>a<script>",
    ),
    "no end": ([b"<h1>a</h1>"], b"<h1>a</h1><script>"),
    "nothing": ([], b"<script>"),
}


@pytest.mark.parametrize("pieces, expected", STREAMS.values(), ids=STREAMS)
def test_the_element_follows_what_a_browser_shows(pieces, expected):
    injector = Injector(ELEMENT, None, is_document=True)
    sent = [injector.piece(piece) for piece in pieces]
    assert b"".join(sent) + injector.end() == expected
    # No piece waits for the next one.
    assert [len(piece) >= len(given) for piece, given in zip(sent, pieces, strict=True)] == [
        True
    ] * len(pieces)


@pytest.mark.parametrize(
    "body, expected",
    [
        (b"<body>a</body><body>b</body>", b"<body>a</body><body>b<script></body>"),
        (b"<body>'</body>' + a", b"<body>'</body>' + a<script>"),
        (b"a", b"a<script>"),
    ],
)
def test_a_whole_page_has_the_element_at_its_last_end(body, expected):
    assert Injector(ELEMENT, None, is_document=True).whole(body) == expected


@pytest.mark.parametrize("body", [b"<li>a</li>", b"{}"])
def test_a_part_of_a_page_has_no_element_unless_a_browser_shows_it(body):
    assert Injector(ELEMENT, None, is_document=False).whole(body) == body
    stream = Injector(ELEMENT, None, is_document=False)
    assert stream.piece(body) + stream.end() == body
    assert ELEMENT in Injector(ELEMENT, None, is_document=False).whole(b"<!DOCTYPE html>" + body)


def raw_deflate(body):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


@pytest.mark.parametrize(
    "coding, compress",
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
    ],
)
def test_a_compressed_page_is_opened(coding, compress):
    body = compress(b"<body>a</body>")
    assert Injector(ELEMENT, coding, True).whole(body) == b"<body>a<script></body>"
    stream = Injector(ELEMENT, coding, True)
    pieces = [stream.piece(bytes([byte])) for byte in body]
    # Where its pieces end is the affair of the compression.
    sent = b"".join(pieces) + stream.end()
    assert sent.count(ELEMENT) == 1 and sent.replace(ELEMENT, b"") == b"<body>a</body>"


@pytest.mark.parametrize("tail, is_end", [(b"", True), (b"<p>", False), (b"<!--", False)])
def test_many_comments_behind_the_end_take_linear_time(tail, is_end):
    comments = b"<!-- c -->\n" * 10_000 + tail
    body = b"<body>a</body>" + comments
    before, after = body[:7], body[7:]
    expected = before + ELEMENT + after if is_end else body + ELEMENT
    assert Injector(ELEMENT, None, is_document=True).whole(body) == expected
    stream = Injector(ELEMENT, None, is_document=True)
    assert stream.piece(body) + stream.end() == expected


HTML = ("Content-Type", "text/html; charset=utf-8")


@pytest.mark.parametrize(
    "status, headers, expected",
    [
        ("200 OK", [HTML], Page(None, None)),
        ("404 Not Found", [HTML, ("content-length", "12")], Page(None, 12)),
        ("200 OK", [HTML, ("Content-Encoding", "x-gzip")], Page("gzip", None)),
        ("200 OK", [HTML, ("Content-Encoding", "br")], Sealed("br")),
        ("200 OK", [], None),
        ("200 OK", [("Content-Type", "application/json")], None),
        ("200 OK", [("Content-Type", "text/html; charset=UTF-16")], None),
        ("206 Partial Content", [HTML], None),
        ("304 Not Modified", [HTML], None),
        ("200 OK", [HTML, ("Content-Disposition", "attachment; filename=a.html")], None),
        ("200 OK", [HTML, ("X-Accel-Redirect", "/a")], None),
        ("200 OK", [HTML, ("Grip-Hold", "stream")], None),
    ],
)
def test_only_pages_get_the_element(status, headers, expected):
    assert page_of(status, headers) == expected


def test_the_head_says_what_the_page_is_now():
    headers = [
        HTML,
        ("Content-Length", "12"),
        ("Content-Encoding", "gzip"),
        ("ETag", 'W/"a"'),
        ("Last-Modified", "Sun, 29 Nov 2026 20:00:00 GMT"),
        ("Accept-Ranges", "bytes"),
        ("Content-MD5", "x"),
        ("Set-Cookie", "a=b"),
    ]
    tag = ("ETag", 'W/"a-lockgate-7"')
    assert page_headers(headers, "7") == [HTML, tag, ("Set-Cookie", "a=b")]


@pytest.mark.parametrize(
    "tags, expected",
    [
        ('"a-lockgate-7"', '"a"'),
        ('W/"a-lockgate-7", "b-lockgate-6", "c"', 'W/"a"'),
        ('"a, b-lockgate-7", "c-lockgate-7"', '"a, b", "c"'),
        ("*", ""),
        ('"a"', ""),
    ],
)
def test_the_application_is_asked_for_pages_of_this_version_only(tags, expected):
    assert without_mark(tags, "7") == expected


SELF = Allowed()


@pytest.mark.parametrize(
    "policies, expected",
    [
        ([], SELF),
        (["img-src 'none'"], SELF),
        (["default-src 'self'"], SELF),
        (["default-src 'none'; script-src 'self'; connect-src *"], SELF),
        (["default-src http://localhost:8000"], SELF),
        (["default-src http:"], SELF),
        (["script-src 'nonce-a1=='"], Allowed("a1==")),
        (["script-src 'nonce-a' 'strict-dynamic'; connect-src 'self'"], Allowed("a")),
        (["script-src 'self'; script-src-elem 'nonce-a'"], Allowed("a")),
        (["script-src 'nonce-a' 'nonce-b'", "script-src 'nonce-b'"], Allowed("b")),
        (["sandbox allow-scripts allow-same-origin"], SELF),
        (["default-src 'none'"], Forbidden("default-src 'none'")),
        (["script-src 'none'"], Forbidden("script-src 'none'")),
        (["script-src 'self'; connect-src 'none'"], Forbidden("connect-src 'none'")),
        (["script-src 'self' 'strict-dynamic'"], Forbidden("script-src 'self' 'strict-dynamic'")),
        (["script-src 'unsafe-inline'"], Forbidden("script-src 'unsafe-inline'")),
        (["script-src http://localhost:9000"], Forbidden("script-src http://localhost:9000")),
        (["script-src 'self', script-src 'none'"], Forbidden("script-src 'none'")),
        (["script-src 'self'; SCRIPT-SRC 'none'"], SELF),
        (["script-src"], Forbidden("script-src")),
        (["sandbox allow-scripts"], Forbidden("sandbox allow-scripts")),
        (
            ["script-src 'nonce-a'", "script-src 'nonce-b'"],
            Forbidden("script-src with different nonces"),
        ),
    ],
)
def test_a_policy_allows_the_script_or_names_what_forbids_it(policies, expected):
    assert judge(policies, "http", "localhost:8000") == expected
