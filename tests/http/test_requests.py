"""Valid and invalid requests, and the responses to them."""

import hashlib
import json

import pytest
from harness import chunked, request
from harness.process import resident_bytes

EMPTY_CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def server(shared):
    return shared("bodies:app", "--threads", "2")


@pytest.fixture(scope="module")
def limited(shared):
    return shared("bodies:app", "--limit-request-body", "1000", "--threads", "2")


def digest_of(response):
    assert response.status == 200, response
    total, sha256, _ = json.loads(response.body)["seen"]
    return total, sha256


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"a"],
        [b"abc", b"defg"],
        [bytes(range(256)) * 64] * 320,  # 5 MB
        [b"x"] * 5000,
    ],
    ids=["empty", "one-byte", "small", "five-megabytes", "many-single-bytes"],
)
@pytest.mark.parametrize("trailers", [(), ("X-Trailer: late", "X-Sum: 1")])
def test_a_chunked_body_arrives_whole(server, pieces, trailers):
    body = b"".join(pieces)
    with server.connect() as wire:
        wire.send(request("POST", "/digest", EMPTY_CHUNKED), chunked(pieces, *trailers))
        response = wire.response()
        assert digest_of(response) == (len(body), hashlib.sha256(body).hexdigest())
        shown = json.loads(response.body)
        assert shown["length"] == str(len(body))
        assert not shown["has_transfer_encoding"] and not shown["has_trailer"]
        wire.send(request("POST", "/digest", "Connection: close", body=b"next"))
        assert digest_of(wire.response())[0] == 4
        wire.expect_close()


def test_expect_100_continue_is_answered_before_the_body(server):
    with server.connect() as wire:
        wire.send(request("POST", "/read", "Expect: 100-continue", "Content-Length: 5"))
        interim = wire.response()
        assert (interim.status, interim.framing) == (100, "none")
        wire.send(b"hello")
        assert json.loads(wire.response().body)["seen"] == "hello"
        wire.send(request("POST", "/read", "expect: 100-Continue", EMPTY_CHUNKED))
        assert wire.response().status == 100
        wire.send(chunked([b"again"]))
        assert json.loads(wire.response().body)["seen"] == "again"


def test_no_100_is_sent_when_the_body_is_already_there_or_there_is_none(server):
    with server.connect() as wire:
        wire.send(request("POST", "/read", "Expect: 100-continue", body=b"hello"))
        response = wire.response()
        assert response.status == 200, response
        assert json.loads(response.body)["seen"] == "hello"
        wire.send(request("POST", "/read", "Expect: 100-continue", EMPTY_CHUNKED) + chunked([]))
        assert wire.response().status == 200
        wire.send(request("GET", "/read", "Expect: 100-continue"))
        assert wire.response().status == 200


def test_an_http_1_0_client_gets_no_100(server):
    data = request("POST", "/read", "Expect: 100-continue", version="1.0", body=b"hello")
    assert json.loads(server.exchange(data).body)["seen"] == "hello"


def test_another_expectation_is_refused(server):
    with server.connect() as wire:
        wire.send(request("POST", "/read", "Expect: a-miracle", body=b"hello"))
        response = wire.response()
        assert response.status == 417 and response.wants_close()
        wire.expect_close()


def test_a_body_at_the_limit_is_taken(limited):
    assert digest_of(limited.post("/digest", b"x" * 1000))[0] == 1000
    pieces = chunked([b"x" * 500] * 2)
    data = request("POST", "/digest", EMPTY_CHUNKED, "Connection: close")
    assert digest_of(limited.exchange(data + pieces))[0] == 1000


def test_a_body_over_the_limit_is_answered_413_without_100(limited):
    with limited.connect() as wire:
        wire.send(request("POST", "/digest", "Expect: 100-continue", "Content-Length: 1001"))
        response = wire.response()
        assert response.status == 413 and response.wants_close()
        wire.expect_close()


def test_a_chunked_body_over_the_limit_is_answered_413(limited):
    with limited.connect() as wire:
        wire.send(request("POST", "/digest", EMPTY_CHUNKED), chunked([b"x" * 600, b"y" * 600]))
        response = wire.response()
        assert response.status == 413 and response.wants_close()
        wire.expect_close()


@pytest.mark.parametrize("framing", ["Content-Length: 100000000", EMPTY_CHUNKED])
def test_an_early_413_reaches_a_client_that_is_still_sending(limited, framing):
    """A server that closes with unread bytes resets the connection and destroys its own answer."""
    for _ in range(10):
        with limited.connect() as wire:
            wire.send(request("POST", "/digest", framing))
            piece = b"%x\r\n%s\r\n" % (65536, b"x" * 65536) if "chunk" in framing else b"x" * 65536
            for _ in range(30):
                if not wire.send_while_open(piece):
                    break
            assert wire.response().status == 413


@pytest.mark.parametrize(
    ("arguments", "data", "status"),
    [
        (["--limit-request-line", "100"], request("GET", "/" + "a" * 100), 414),
        (["--limit-request-fields", "5"], request("GET", "/", *["X-A: 1"] * 6), 431),
        (["--limit-request-field_size", "64"], request("GET", "/", "X-A: " + "1" * 60), 431),
        (["--limit-request-head", "1024"], request("GET", "/", *["X-A: " + "1" * 90] * 11), 431),
        ([], request("GET", "/" + "a" * 10_000), 414),
        ([], request("GET", "/", *["X-A: 1"] * 200), 431),
        ([], request("GET", "/", "X-A: " + "1" * 20_000), 431),
        ([], request("GET", "/", *["X-A: " + "1" * 8000] * 40), 431),
    ],
)
def test_each_limit_has_its_status(shared, arguments, data, status):
    server = shared("wire_app:app", *arguments)
    with server.connect() as wire:
        wire.send_while_open(data)
        response = wire.response()
        assert response.status == status and response.wants_close()
    assert server.get("/").status == 200


def test_a_head_that_never_ends_is_refused_before_it_fills_the_memory(shared):
    server = shared("wire_app:app")
    for start, status in [(b"GET /", 414), (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", 431)]:
        with server.connect() as wire:
            wire.send(start)
            for _ in range(200):
                if not wire.send_while_open(b"a" * 10_000):
                    break
            assert wire.response().status == status


def test_nothing_behind_a_refused_request_is_answered(server):
    bad = request("GET", "/", "Content-Length: 3", EMPTY_CHUNKED)
    with server.connect() as wire:
        wire.send(bad + request("GET", "/smuggled"))
        assert wire.response().status == 400
        wire.expect_close()


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_large_upload_goes_to_disk_and_not_to_memory(shared, framing, tmp_path):
    server = shared("bodies:app", "--spool-dir", str(tmp_path))
    size, piece = 200 << 20, bytes(range(256)) * 4096
    (worker,) = server.workers()
    server.post("/digest", b"warm")
    before = resident_bytes(worker)
    sha256 = hashlib.sha256()
    with server.connect(timeout=60) as wire:
        if framing == "length":
            wire.send(request("POST", "/digest", f"Content-Length: {size}"))
        else:
            wire.send(request("POST", "/digest", EMPTY_CHUNKED))
        for _ in range(size // len(piece)):
            wire.send(piece if framing == "length" else b"%x\r\n%s\r\n" % (len(piece), piece))
            sha256.update(piece)
        if framing == "chunked":
            wire.send(b"0\r\n\r\n")
        assert digest_of(wire.response()) == (size, sha256.hexdigest())
    grown = resident_bytes(worker, "VmHWM") - before
    assert grown < 20 << 20, f"the worker grew by {grown >> 20} MB"
    assert list(tmp_path.iterdir()) == []
