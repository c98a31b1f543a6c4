"""Compression: which responses are encoded, what their heads say, when streams are sent."""

import json
import os
from base64 import b64encode

import brotli
import pytest
from harness import request
from harness.authority import over_tls
from harness.codings import DECODE, incremental
from harness.wire import Truncated

TEXT = b"".join(b"<li>item %d of the list</li>\n" % number for number in range(400))
HTML = ("Content-Type", "text/html; charset=utf-8")
CODINGS = list(DECODE)


@pytest.fixture(scope="module")
def server(shared):
    return shared("compressing:app", "--compress", "--threads", "4")


def plan(server, name, *headers, pieces=(TEXT,), way="whole", status="200 OK"):
    pieces = [b64encode(piece).decode() for piece in pieces]
    text = json.dumps({"headers": headers, "pieces": pieces, "way": way, "status": status})
    assert server.post(f"/{name}", text.encode()).status == 200


def body_of(response):
    coding = response.header("Content-Encoding")
    return DECODE[coding](response.body) if coding else response.body


@pytest.mark.parametrize("way", ["whole", "stream", "written", "file"])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_is_encoded_in_the_coding_of_the_client(server, coding, way):
    pieces = [TEXT[:5], TEXT[5:3000], TEXT[3000:]]
    plan(server, f"{way}", HTML, ("ETag", '"one"'), ("Vary", "Cookie"), pieces=pieces, way=way)
    response = server.get(f"/{way}", f"Accept-Encoding: {coding}")
    assert response.header("Content-Encoding") == coding
    assert response.header("Vary") == "Cookie, Accept-Encoding"
    assert response.header("ETag") == 'W/"one"'
    assert body_of(response) == TEXT
    is_known = way in ("whole", "file")
    assert response.framing == ("length" if is_known else "chunked")
    if way != "written":
        assert len(response.body) < len(TEXT) / 4


def test_the_order_of_the_server_decides_between_equal_weights(server):
    plan(server, "order", HTML)
    for field, coding in [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate", "gzip"),
        ("zstd;q=0.5, br;q=0.6, gzip;q=0.7", "gzip"),
        ("zstd;q=0, br;q=0, *", "gzip"),
        ("deflate", None),
        ("identity, gzip;q=0", None),
        ("*;q=0", None),
    ]:
        response = server.get("/order", f"Accept-Encoding: {field}")
        assert response.header("Content-Encoding") == coding, field
        assert response.header("Vary") == "Accept-Encoding"
        assert body_of(response) == TEXT
    several = server.get("/order", "Accept-Encoding: gzip;q=0.2", "Accept-Encoding: br")
    assert several.header("Content-Encoding") == "br"
    plain = server.get("/order")
    assert (plain.body, plain.header("Vary")) == (TEXT, "Accept-Encoding")
    assert plain.length == len(TEXT)


@pytest.mark.parametrize(
    ("headers", "status", "size", "vary"),
    [
        ([HTML], "200 OK", 1023, "Accept-Encoding"),
        ([("Content-Type", "image/png")], "200 OK", 5000, None),
        ([], "200 OK", 5000, None),
        ([HTML, ("Content-Encoding", "x-own")], "200 OK", 5000, None),
        ([HTML, ("Cache-Control", "no-transform, max-age=3")], "200 OK", 5000, None),
        ([HTML, ("Content-Range", "bytes 0-1/9")], "206 Partial Content", 5000, "Accept-Encoding"),
        ([HTML, ("Content-Digest", "sha-256=:aaaa:")], "200 OK", 5000, None),
    ],
)  # fmt: skip
def test_some_responses_stay_as_they_are(server, headers, status, size, vary):
    headers = [*headers, ("ETag", '"one"'), ("Accept-Ranges", "bytes")]
    plan(server, "as-is", *headers, pieces=[TEXT[:size]], status=status)
    response = server.get("/as-is", "Accept-Encoding: gzip, br, zstd")
    assert response.body == TEXT[:size]
    assert response.header("ETag") == '"one"'
    assert response.header("Accept-Ranges") == "bytes"
    assert response.header("Vary") == vary
    assert response.length == size


def test_error_pages_are_encoded_too(server):
    plan(server, "error", HTML, status="500 Internal Server Error")
    response = server.get("/error", "Accept-Encoding: zstd")
    assert (response.status, response.header("Content-Encoding")) == (500, "zstd")
    assert body_of(response) == TEXT


@pytest.mark.parametrize("way", ["whole", "stream"])
def test_head_has_the_fields_of_get(server, way):
    headers = [HTML, ("ETag", '"one"'), ("Accept-Ranges", "bytes")]
    plan(server, "head", *headers, way=way)
    seen = []
    for method in ["GET", "HEAD"]:
        response = server.get("/head", "Accept-Encoding: br", method=method)
        skipped = ("date", "content-length", "transfer-encoding")
        seen.append([pair for pair in response.headers if pair[0].lower() not in skipped])
    assert seen[0] == seen[1]
    assert ("Content-Encoding", "br") in seen[1]
    assert response.all("Content-Length") == []
    small = [TEXT[:100]]
    plan(server, "small-head", *headers, ("Content-Length", "100"), pieces=small, way=way)
    response = server.get("/small-head", "Accept-Encoding: br", method="HEAD")
    assert response.header("Content-Length") == "100"
    assert response.header("ETag") == '"one"'


def test_statuses_without_a_body_stay_without_one(server):
    for status in ["204 No Content", "304 Not Modified"]:
        plan(server, "none", ("ETag", '"one"'), status=status, pieces=[])
        response = server.get("/none", "Accept-Encoding: br")
        assert response.all("Content-Encoding") == []
        assert response.header("ETag") == '"one"'


def test_the_weak_tag_of_an_encoded_response_revalidates(server):
    """The application compares no tags, and one that does answers with its own."""
    plan(server, "tag", HTML, ("ETag", '"one"'), ("Cache-Control", "no-cache"))
    for method in ["GET", "HEAD"]:
        sent = ["Accept-Encoding: zstd", 'If-None-Match: "zero", W/"one"']
        response = server.get("/tag", *sent, method=method)
        assert (response.status, response.body) == (304, b"")
        assert response.header("ETag") == 'W/"one"'
        assert response.header("Vary") == "Accept-Encoding"
        assert response.header("Cache-Control") == "no-cache"
        assert response.all("Content-Encoding") == response.all("Content-Type") == []
    for changed in ['W/"two"', '"one"']:
        response = server.get("/tag", "Accept-Encoding: zstd", f"If-None-Match: {changed}")
        assert response.status == 200
    plan(server, "tag", ("ETag", '"one"'), status="304 Not Modified", pieces=[])
    for sent, tag in [('W/"one"', 'W/"one"'), ('"one"', '"one"')]:
        response = server.get("/tag", "Accept-Encoding: zstd", f"If-None-Match: {sent}")
        assert (response.status, response.header("ETag")) == (304, tag)


@pytest.mark.parametrize("coding", CODINGS)
def test_events_are_not_delayed(server, coding):
    events = [b"data: %d\n\n" % number for number in range(3)]
    plan(server, "events", ("Content-Type", "text/event-stream"), pieces=events, way="gated")
    decode = incremental(coding)
    with server.connect() as wire:
        wire.send(request("GET", "/events", f"Accept-Encoding: {coding}", "Connection: close"))
        response = wire.head()
        assert response.header("Content-Encoding") == coding
        for event in events:
            seen = b""
            while seen != event:
                seen += decode(wire.chunk())
            server.get("/open")
        while piece := wire.chunk():
            assert decode(piece) == b""


@pytest.mark.parametrize("coding", CODINGS)
def test_a_response_that_breaks_off_does_not_look_complete(server, coding):
    plan(server, "broken", HTML, pieces=[TEXT, TEXT], way="failing")
    with server.connect() as wire:
        wire.send(request("GET", "/broken", f"Accept-Encoding: {coding}"))
        head = wire.head()
        with pytest.raises(Truncated):
            wire.body_of(head)
        decode = incremental(coding)
        assert b"".join(decode(piece) for piece in head.chunks) == TEXT * 2
    too_long = ("Content-Length", str(len(TEXT) + 5))
    plan(server, "short", HTML, too_long, pieces=[TEXT])
    with server.connect() as wire:
        wire.send(request("GET", "/short", f"Accept-Encoding: {coding}"))
        with pytest.raises(Truncated):
            wire.response()
    server.wait_for_log("/short is shorter than its Content-Length")


def test_more_than_the_announced_length_is_cut(server):
    pieces = [TEXT[:3000], TEXT[3000:]]
    for way in ["whole", "stream"]:
        plan(server, "long", HTML, ("Content-Length", "5000"), pieces=pieces, way=way)
        response = server.get("/long", "Accept-Encoding: br")
        assert body_of(response) == TEXT[:5000]


@pytest.mark.parametrize("coding", CODINGS)
def test_large_bodies_and_files(server, coding):
    large = [TEXT * 100] * 3
    for way in ["whole", "stream", "file"]:
        plan(server, "large", HTML, pieces=large, way=way)
        response = server.get("/large", f"Accept-Encoding: {coding}")
        assert body_of(response) == b"".join(large), way
        assert len(response.body) < len(TEXT) * 300 / 8


def test_connections_stay_open(server):
    plan(server, "open-1", HTML)
    with server.connect() as wire:
        for coding in CODINGS * 3:
            wire.send(request("GET", "/open-1", f"Accept-Encoding: {coding}"))
            assert body_of(wire.response()) == TEXT


def test_http_1_0_gets_a_body_until_the_end_of_the_connection(server):
    plan(server, "old", HTML, way="stream")
    response = server.exchange(request("GET", "/old", "Accept-Encoding: gzip", version="1.0"))
    assert (response.framing, body_of(response)) == ("close", TEXT)


def lengths(server, context, *headers):
    found = []
    for _ in range(40):
        data = request("GET", "/secret", *headers, "Connection: close")
        response = over_tls(server, context, data)
        assert body_of(response) == TEXT
        found.append(response.length)
    return found


@pytest.mark.parametrize("coding", CODINGS)
def test_lengths_vary_where_a_secret_meets_tls(start, authority, certificate, coding):
    server = start("compressing:app", "--compress", *certificate)
    context = authority.client()
    text = json.dumps({"headers": [HTML], "pieces": [b64encode(TEXT).decode()], "way": "whole"})
    data = request("POST", "/secret", "Connection: close", body=text.encode())
    assert over_tls(server, context, data).status == 200
    accept = f"Accept-Encoding: {coding}"
    assert len(set(lengths(server, context, accept))) == 1
    for secret in ["Cookie: session=1", "Authorization: Basic YTpi"]:
        found = lengths(server, context, accept, secret)
        assert len(set(found)) > 20
        assert max(found) - min(found) <= 140


def test_nothing_is_encoded_without_the_setting(start):
    server = start("compressing:app")
    plan(server, "off", HTML, ("ETag", '"one"'))
    response = server.get("/off", "Accept-Encoding: gzip, br, zstd")
    assert (response.body, response.header("ETag")) == (TEXT, '"one"')
    assert response.all("Vary") == response.all("Content-Encoding") == []


@pytest.fixture(scope="module")
def static(shared, tmp_path_factory):
    directory = tmp_path_factory.mktemp("static")
    for name, content in FILES.items():
        (directory / name).write_bytes(content)
    (directory / "copied.css").write_bytes(TEXT)
    (directory / "copied.css.br").write_bytes(brotli.compress(TEXT))
    for path in directory.iterdir():
        # The tag of a new file is weak.
        os.utime(path, (1e9, 1e9))
    return shared("compressing:app", "--compress", "--static", f"/static={directory}")


FILES = {
    "small.css": TEXT[:200],
    "page.html": TEXT,
    "large.js": TEXT * 50,
    "huge.txt": TEXT * 800,
    "photo.png": TEXT,
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("name", FILES)
def test_files_are_encoded(static, name, coding):
    is_text = name not in ("small.css", "photo.png", "huge.txt")
    for method in ["GET", "HEAD"] * 2:
        response = static.get(f"/static/{name}", f"Accept-Encoding: {coding}", method=method)
        assert response.status == 200
        assert response.header("Content-Encoding") == (coding if is_text else None)
        assert response.header("Vary") == (None if name == "photo.png" else "Accept-Encoding")
        # That of a file which is not in memory is weak until the file is older.
        assert response.header("ETag").startswith("W/") == is_text or name == "huge.txt"
        if method == "GET":
            assert body_of(response) == FILES[name]
    plain = static.get(f"/static/{name}")
    assert (plain.body, plain.length) == (FILES[name], len(FILES[name]))
    assert plain.header("Vary") == (None if name == "photo.png" else "Accept-Encoding")


def test_conditions_and_ranges_of_files(static):
    accept = "Accept-Encoding: zstd"
    encoded = static.get("/static/page.html", accept).header("ETag")
    plain = static.get("/static/page.html").header("ETag")
    assert encoded == f"W/{plain}"
    for tag in [encoded, plain]:
        response = static.get("/static/page.html", accept, f"If-None-Match: {tag}")
        assert (response.status, response.header("ETag")) == (304, tag)
        assert response.header("Vary") == "Accept-Encoding"
    part = static.get("/static/page.html", accept, "Range: bytes=10-19")
    assert (part.status, part.body) == (206, TEXT[10:20])
    assert part.header("Vary") == "Accept-Encoding"
    assert part.all("Content-Encoding") == []
    changed = static.get("/static/page.html", accept, "Range: bytes=10-19", f"If-Range: {encoded}")
    assert (changed.status, body_of(changed)) == (200, TEXT)


def test_copies_on_disk_come_first(static):
    response = static.get("/static/copied.css", "Accept-Encoding: br")
    assert response.body == brotli.compress(TEXT)
    assert not response.header("ETag").startswith("W/")
    assert body_of(static.get("/static/copied.css", "Accept-Encoding: gzip")) == TEXT


def test_held_responses_stay_as_they_are(start):
    server = start("pushing:app", "--push", "--compress", "--compress-min-size", "1")
    with server.connect() as wire:
        wire.send(request("GET", "/events", "Accept-Encoding: gzip, br, zstd"))
        head = wire.head()
        assert head.all("Content-Encoding") == []
        assert wire.chunk() == b": open\n\n"
        body = json.dumps({"content": "one"}).encode()
        assert server.post("/publish", body).status == 204
        assert b"data: one\n" in wire.chunk()
