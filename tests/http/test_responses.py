"""The form of responses: framing, HEAD, statuses without a body, Date, Server, large ones."""

import re
from email.utils import parsedate_to_datetime

import pytest
from harness import request

PIECE = bytes(range(256)) * 256


@pytest.fixture(scope="module")
def server(shared):
    return shared("wire_app:app", "--threads", "1")


def test_a_stream_is_chunked_and_well_formed(server):
    with server.connect() as wire:
        for pieces in (0, 1, 3, 100):
            wire.send(request("GET", f"/stream?pieces={pieces}"))
            response = wire.response()
            expected = b"".join(b"piece %d;" % number for number in range(pieces))
            assert response.body == expected
            assert response.framing == "chunked" or pieces == 0


def test_head_has_the_headers_of_get_and_no_body(server):
    with server.connect() as wire:
        for path in ("/head-with-length", "/stream", "/plain"):
            wire.send(request("GET", path))
            full = wire.response()
            wire.send(request("HEAD", path))
            bare = wire.response("HEAD")
            assert bare.body == b"" and bare.status == full.status
            names = {name.lower() for name, _ in bare.headers}
            assert {"date", "content-type"} <= names
        wire.send(request("HEAD", "/head-with-length"))
        assert wire.response("HEAD").header("Content-Length") == "12345"


@pytest.mark.parametrize("code", ["204", "304"])
def test_a_status_without_a_body_invents_no_framing(server, code):
    with server.connect() as wire:
        wire.send(request("GET", f"/status?code={code}") + request("GET", "/next"))
        response = wire.response()
        assert response.status == int(code)
        assert response.all("Content-Length") == response.all("Transfer-Encoding") == []
        assert wire.response().body == b"GET /next "


@pytest.mark.parametrize("code", ["200", "201", "404", "500", "599", "299"])
def test_an_empty_body_of_any_other_status_has_a_length_of_zero(server, code):
    response = server.get(f"/status?code={code}")
    assert (response.status, response.framing, response.length) == (int(code), "length", 0)


def test_date_and_server_are_there_once(server):
    response = server.get("/")
    assert response.header("Server") == "lockgate"
    date = response.header("Date")
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert parsedate_to_datetime(date).year >= 2024


def test_date_and_server_of_the_application_win(server):
    response = server.get("/own-headers")
    assert response.header("Server") == "mine/1.0"
    assert response.header("Date") == "Tue, 15 Nov 1994 08:12:31 GMT"


@pytest.mark.parametrize(("setting", "expected"), [("Apache/2", "Apache/2"), ("", None)])
def test_the_server_header_can_be_set_and_removed(shared, setting, expected):
    server = shared("wire_app:app", "--server-header", setting)
    assert server.get("/").header("Server") == expected
    refused = server.exchange(b"BAD\r\n\r\n")
    assert (refused.status, refused.header("Server")) == (400, expected)


@pytest.mark.parametrize("path", ["/large", "/large-stream"])
def test_a_large_response_arrives_whole(server, path):
    response = server.get(path + "?megabytes=20")
    assert response.body == PIECE * (20 * 16)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/large?megabytes=50", "/file?size=50000000"])
def test_a_slow_reader_of_a_large_response_blocks_no_other_client(server, path):
    """One thread, and it is free again although its response is far from delivered."""
    with server.connect() as slow:
        slow.send(request("GET", path, "Connection: close"))
        head = slow.head()
        assert head.length >= 50_000_000
        for number in range(20):
            assert server.get(f"/{number}").body == b"GET /%d " % number
        assert len(slow.rest()) == head.length


@pytest.mark.slow
def test_a_slow_reader_of_a_stream_blocks_no_other_client_when_another_thread_is_free(shared):
    server = shared("wire_app:app", "--threads", "4")
    with server.connect() as slow:
        slow.send(request("GET", "/large-stream?megabytes=30", "Connection: close"))
        assert slow.head().framing == "chunked"
        for number in range(20):
            assert server.get(f"/{number}").body == b"GET /%d " % number
        total = 0
        while piece := slow.chunk():
            total += len(piece)
        assert total == 30 << 20


def test_a_client_that_leaves_in_a_large_response_affects_no_other_client(server):
    for path in ("/large?megabytes=20", "/large-stream?megabytes=20", "/file?size=20000000"):
        with server.connect() as wire:
            wire.send(request("GET", path))
            wire.head()
        assert server.get("/after").body == b"GET /after "


def test_a_client_that_stops_reading_is_dropped_after_the_write_timeout(shared):
    server = shared("wire_app:app", "--write-timeout", "1", "--threads", "1")
    with server.connect() as wire:
        wire.send(request("GET", "/large-stream?megabytes=50"))
        wire.head()
        # The only thread is waiting for this client; it comes back when the client is given up.
        assert server.get("/after").body == b"GET /after "
        wire.rest()
