"""Bodies that the application reads while the client sends them (`stream_request_body`)."""

import hashlib
import json
import socket
import struct

import pytest
from harness import chunked, request


@pytest.fixture(scope="module")
def server(shared):
    return shared("streaming:app", "--stream-request-body", "/stream/", "--threads", "2")


def streamed(name, *headers, length=None):
    """The head of a request whose body follows: of this length, or chunked."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return request("POST", f"/stream/{name}", framing, *headers)


def encoded(piece, length):
    return piece if length is not None else b"%x\r\n%s\r\n" % (len(piece), piece)


@pytest.mark.parametrize("length", [10, None])
def test_the_application_answers_before_the_body_has_arrived(server, length):
    with server.connect() as wire:
        wire.send(streamed("environ", length=length))
        response = wire.response()
        expected = [None if length is None else "10", None, True]
        assert json.loads(response.body) == expected
        assert response.wants_close()
        wire.expect_close()


def test_other_paths_are_called_with_the_whole_body(server):
    with server.connect() as wire:
        wire.send(request("POST", "/other/environ", "Transfer-Encoding: chunked"))
        wire.send(chunked([b"abc"]))
        assert json.loads(wire.response().body) == ["3", None, True]


@pytest.mark.parametrize("length", [14, None])
def test_a_body_is_echoed_piece_by_piece(server, length):
    with server.connect() as wire:
        wire.send(streamed("echo", length=length))
        pieces = [b"first", b"second", b"end"]
        for index, piece in enumerate(pieces):
            wire.send(encoded(piece, length))
            if index == 0:
                assert wire.head().framing == "chunked"
            assert wire.chunk() == piece
        if length is None:
            wire.send(b"0\r\n\r\n")
        assert wire.chunk() == b""


@pytest.mark.parametrize("length", [10, None])
@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ("4,0,3,9,9", ["0123", "", "456", "789", ""]),
        ("-1,-1,5", ["0123456789", "", ""]),
        ("100000,1", ["0123456789", ""]),
        ("1,99999999,1", ["0", "123456789", ""]),
    ],
)
def test_a_read_returns_as_much_as_it_was_asked_for(server, sizes, expected, length):
    with server.connect() as wire:
        wire.send(streamed(f"read?{sizes}", "Connection: close", length=length))
        for letter in b"0123456789":
            wire.send(encoded(bytes([letter]), length))
        if length is None:
            wire.send(b"0\r\n\r\n")
        assert json.loads(wire.response().body) == expected


@pytest.mark.parametrize("length", [31, None])
def test_lines_are_read_across_pieces(server, length):
    body = b"first\n0123456\nthird\n4\n5\n\nrest.."
    with server.connect() as wire:
        wire.send(streamed("lines", length=length))
        for at in range(0, len(body), 4):
            wire.send(encoded(body[at : at + 4], length))
        if length is None:
            wire.send(b"0\r\n\r\n")
        read = json.loads(wire.response().body)
        assert read == ["first\n", "012", "3456\n", "third\n", "4\n", "5\n", "\n", "rest.."]


@pytest.mark.parametrize("form", ["length", "chunked"])
@pytest.mark.parametrize("name", ["digest?65536", "digest?1000", "digest?3000000", "digest-of-all"])
def test_a_large_body_arrives_whole(server, name, form):
    body = bytes(range(251)) * 20_000
    if form == "length":
        data = request("POST", f"/stream/{name}", "Connection: close", body=body)
    else:
        data = streamed(name, "Connection: close")
        data += chunked([body[at : at + 70_000] for at in range(0, len(body), 70_000)])
    response = server.exchange(data)
    assert json.loads(response.body) == [len(body), hashlib.sha256(body).hexdigest()]


def test_the_stream_of_a_flask_request_reads_an_upload(server):
    body = b"0123456789abcdef" * 30_000
    for data in (
        request("POST", "/stream/flask", "Connection: close", body=body),
        streamed("flask", "Connection: close") + chunked([body[:100_000], body[100_000:]]),
    ):
        response = server.exchange(data)
        assert json.loads(response.body) == [len(body), hashlib.sha256(body).hexdigest()]


def test_a_connection_is_kept_after_a_body_that_was_read(server):
    with server.connect() as wire:
        for body in (b"one", b"two", b"three"):
            wire.send(streamed("read?-1") + chunked([body]))
            response = wire.response()
            assert json.loads(response.body) == [body.decode()] and not response.wants_close()
            # The application does not read the end of the body, only its last byte.
            wire.send(request("POST", f"/stream/read?{len(body)}", body=body))
            response = wire.response()
            assert json.loads(response.body) == [body.decode()] and not response.wants_close()


def test_a_pipelined_request_behind_a_streamed_body_is_answered(server):
    with server.connect() as wire:
        wire.send(request("POST", "/stream/read?-1", body=b"abc"), streamed("read?-1"))
        wire.send(chunked([b"def"]), request("GET", "/other/environ", "Connection: close"))
        assert json.loads(wire.response().body) == ["abc"]
        assert json.loads(wire.response().body) == ["def"]
        assert json.loads(wire.response().body) == [None, None, True]
        wire.expect_close()


def test_an_early_answer_reaches_a_client_that_goes_on_sending(server):
    with server.connect() as wire:
        wire.send(streamed("early", length=10_000_000))
        wire.send_while_open(b"x" * 200_000)
        response = wire.response()
        assert (response.status, response.body) == (413, b"not wanted")
        assert response.wants_close()


def test_100_continue_is_sent_at_the_first_read(server):
    with server.connect() as wire:
        wire.send(streamed("at-gate", "Expect: 100-continue", length=3))
        wire.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            wire.receive()
        wire.socket.settimeout(15)
        assert server.get("/other/open-gate").status == 200
        assert wire.response().status == 100
        wire.send(b"abc")
        assert json.loads(wire.response().body) == "abc"


def test_without_a_read_there_is_no_100_continue(server):
    with server.connect() as wire:
        wire.send(streamed("early", "Expect: 100-continue", length=3))
        response = wire.response()
        assert response.status == 413 and response.wants_close()
        wire.expect_close()


def test_a_body_is_read_on_another_thread(server):
    with server.connect() as wire:
        wire.send(streamed("on-thread", length=6))
        wire.send(b"abc")
        wire.send(b"def")
        assert json.loads(wire.response().body) == "abcdef"


def test_a_read_after_the_request_raises_as_a_closed_file_does(server):
    with server.connect() as wire:
        wire.send(streamed("keep", length=3), b"ab")
        assert json.loads(wire.response().body) == "a"
    raised = json.loads(server.get("/other/read-kept").body)
    assert raised == "ValueError: read of wsgi.input after the request has ended"


@pytest.mark.parametrize("length", [100, None])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_truncated_body_raises_an_oserror(server, length, ending):
    seen = len(server.errors)
    with server.connect() as wire:
        wire.send(streamed("caught", "Expect: 100-continue", length=length))
        # The application reads: a reset that comes earlier takes the request along.
        assert wire.response().status == 100
        wire.send(encoded(b"some", length))
        if ending == "reset":
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line = "caught ConnectionError: the client closed the connection before the body was complete\n"
    server.wait_for_log(f"{line}{line}", since=seen)


def test_a_truncated_body_whose_error_is_not_caught_is_no_error_of_the_application(server):
    seen = len(server.errors)
    with server.connect() as wire:
        wire.send(streamed("read?-1", length=100), b"some")
    with server.connect() as wire:
        wire.send(streamed("caught", length=100), b"some")
    server.wait_for_log("caught ConnectionError", since=seen)
    assert "Traceback" not in server.errors[seen:]


def test_another_error_after_a_truncated_body_is_logged(server):
    seen = len(server.errors)
    with server.connect() as wire:
        wire.send(streamed("caught-and-failed", length=100), b"some")
        wire.finish_sending()
        assert wire.response().status == 500
    server.wait_for_log("FileNotFoundError: another error", since=seen)


def test_a_client_that_stops_sending_gets_408(shared):
    server = shared("streaming:app", "--stream-request-body", "/stream/", "--body-timeout", "0.2")
    for name, status in (("read?-1", 408), ("caught", 200)):
        with server.connect() as wire:
            wire.send(streamed(name, length=100), b"some")
            response = wire.response()
            assert response.status == status and response.wants_close()
            wire.expect_close()
    server.wait_for_log("caught TimeoutError: .*body_timeout")
    assert "Traceback" not in server.errors


@pytest.mark.parametrize(
    ("body", "status"), [(b"5\r\nabcde\r\nxyz\r\n", 400), (b"20\r\n" + b"x" * 32 + b"\r\n", 413)]
)
def test_a_body_that_breaks_a_rule_is_refused(shared, body, status):
    server = shared(
        "streaming:app", "--stream-request-body", "/stream/", "--limit-request-body", "20"
    )
    with server.connect() as wire:
        wire.send(streamed("read?-1"), body)
        response = wire.response()
        assert response.status == status and response.wants_close()
    assert "Traceback" not in server.errors


def test_a_read_that_ends_with_the_deadline_is_no_error_of_the_application(shared):
    server = shared(
        "streaming:app", "--stream-request-body", "/stream/", "--request-timeout", "0.3"
    )
    with server.connect() as wire:
        wire.send(streamed("read?-1", length=100), b"some")
        assert wire.response().status == 504
        # The client has not closed: only the deadline ends the read.
        server.wait_for_log("request_timeout")
        assert server.get("/other/environ").status == 200
    assert "ValueError" not in server.errors
