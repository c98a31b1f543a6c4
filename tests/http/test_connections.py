"""How long a connection lives: keep-alive, pipelining, old clients, half-closed ones, deadlines."""

import time

import pytest
from harness import Wire, chunked, request


@pytest.fixture(scope="module")
def server(shared):
    return shared("wire_app:app", "--threads", "2")


def test_a_connection_serves_one_request_after_another(server):
    with server.connect() as wire:
        for number in range(50):
            wire.send(request("POST", f"/{number}", body=b"x" * number))
            response = wire.response()
            assert response.body == b"POST /%d %s" % (number, b"x" * number)
            assert not response.wants_close()


def test_pipelined_requests_are_answered_in_order(server):
    with server.connect() as wire:
        wire.send(
            request("GET", "/first")
            + request("POST", "/second", body=b"body")
            + request("GET", "/third", "Connection: close")
        )
        bodies = [wire.response().body for _ in range(3)]
        assert bodies == [b"GET /first ", b"POST /second body", b"GET /third "]
        wire.expect_close()


def test_many_pipelined_requests_are_answered_in_order(server):
    with server.connect() as wire:
        wire.send(b"".join(request("GET", f"/{number}") for number in range(300)))
        for number in range(300):
            assert wire.response().body == b"GET /%d " % number


def test_nothing_is_answered_behind_a_close(server):
    with server.connect() as wire:
        wire.send(request("GET", "/1", "Connection: close") + request("GET", "/2"))
        assert wire.response().body == b"GET /1 "
        wire.expect_close()


@pytest.mark.parametrize("connection", [["Connection: close"], ["Connection: Keep-Alive, CLOSE"]])
def test_a_client_that_wants_to_close_gets_connection_close(server, connection):
    with server.connect() as wire:
        wire.send(request("GET", "/", *connection))
        assert wire.response().wants_close()
        wire.expect_close()


def test_http_1_0_closes_unless_asked_to_stay(server):
    with server.connect() as wire:
        wire.send(request("GET", "/", version="1.0"))
        response = wire.response()
        assert response.body == b"GET / " and response.header("Connection") != "keep-alive"
        wire.expect_close()


def test_http_1_0_with_keep_alive_stays(server):
    with server.connect() as wire:
        for _ in range(3):
            wire.send(request("GET", "/", "Connection: keep-alive", version="1.0", host=None))
            response = wire.response()
            assert response.framing == "length"
            assert response.header("Connection").lower() == "keep-alive"


def test_a_stream_to_an_http_1_0_client_ends_with_the_connection(server):
    with server.connect() as wire:
        wire.send(request("GET", "/stream", "Connection: keep-alive", version="1.0"))
        response = wire.response()
        assert response.framing == "close"
        assert response.body == b"piece 0;piece 1;piece 2;"
        assert (response.header("Connection") or "close").lower() == "close"


def test_a_request_split_at_every_byte_is_understood(server):
    data = request("POST", "/split?a=b", "X-A: 1", body=b"abc")
    with server.connect() as wire:
        for at in range(1, len(data)):
            wire.send(data[:at])
            wire.send(data[at:])
            assert wire.response().body == b"POST /split abc", at


def test_a_request_sent_byte_by_byte_is_understood(server):
    data = request("POST", "/slow", "Transfer-Encoding: chunked") + chunked([b"abc", b"de"])
    with server.connect() as wire:
        for at in range(len(data)):
            wire.send(data[at : at + 1])
        assert wire.response().body == b"POST /slow abcde"


@pytest.mark.parametrize("body", [None, b"abc"])
def test_a_client_that_closed_its_sending_half_is_answered(server, body):
    with server.connect() as wire:
        wire.send(request("POST", "/half", body=body))
        wire.finish_sending()
        assert wire.response().body == b"POST /half " + (body or b"")
        wire.expect_close()


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("Content-Length: 10", b"abc"),
        ("Transfer-Encoding: chunked", b"5\r\nabc"),
        ("Transfer-Encoding: chunked", b"3\r\nabc\r\n"),
        ("Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n"),
    ],
)
def test_a_body_that_ends_too_early_never_reaches_the_application(shared, tmp_path, framing, body):
    # One thread: what was called for the first request was called before the second.
    server = shared("patience:app", "--threads", "1")
    with server.connect() as wire:
        wire.send(request("POST", f"/note?{tmp_path}/cut", framing) + body)
        wire.finish_sending()
        rest = wire.rest()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")
    assert server.get(f"/note?{tmp_path}/whole").body == b"noted"
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_two_empty_lines_before_a_request_are_forgiven_or_refused(server):
    with server.connect() as wire:
        wire.send(b"\r\n\r\n" + request("GET", "/", "Connection: close"))
        assert wire.response().status in (200, 400)


def test_a_slow_head_is_answered_408(shared):
    server = shared("wire_app:app", "--head-timeout", "1")
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: slow")
        response = wire.response()
        assert response.status == 408 and response.wants_close()
        wire.expect_close()


@pytest.mark.parametrize("half", [b"G", b"GET / HTTP/1.1\r\nHost: slow"])
@pytest.mark.parametrize("is_pipelined", [True, False])
def test_a_slow_head_of_a_later_request_is_answered_408(shared, half, is_pipelined):
    """Its time is the one of a head, and not the 75 s of an idle connection."""
    server = shared("wire_app:app", "--head-timeout", "1")
    first = request("GET", "/")
    with server.connect() as wire:
        wire.send(first + half if is_pipelined else first)
        assert wire.response().status == 200
        if not is_pipelined:
            wire.send(half)
        response = wire.response()
        assert response.status == 408 and response.wants_close()
        wire.expect_close()


def test_drops_of_a_head_do_not_extend_its_deadline(shared):
    server = shared("wire_app:app", "--head-timeout", "1")
    began = time.monotonic()
    with server.connect(timeout=0.05) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: slow\r\nX-Slow: ")
        while time.monotonic() < began + 8 and wire.send_while_open(b"a"):
            try:
                if not wire.receive():
                    break
            except TimeoutError:
                continue
        assert wire.pending == b"" or wire.pending.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 6


def test_a_slow_body_is_answered_408(shared):
    server = shared("wire_app:app", "--body-timeout", "1")
    with server.connect() as wire:
        wire.send(request("POST", "/", "Content-Length: 10") + b"abc")
        assert wire.response().status == 408
        wire.expect_close()


def test_a_silent_connection_is_closed(shared):
    server = shared("wire_app:app", "--head-timeout", "1")
    with server.connect() as wire:
        rest = wire.rest()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed_after_keep_alive(shared):
    server = shared("wire_app:app", "--keep-alive", "1")
    with server.connect() as wire:
        wire.send(request("GET", "/"))
        wire.response()
        answered = time.monotonic()
        wire.expect_close()
        assert 0.5 < time.monotonic() - answered < 5


def test_keep_alive_zero_closes_after_every_response(shared):
    server = shared("wire_app:app", "--keep-alive", "0")
    with server.connect() as wire:
        wire.send(request("GET", "/"))
        assert wire.response().wants_close()
        wire.expect_close()


def test_silent_and_slow_connections_hold_no_thread(shared):
    server = shared("wire_app:app", "--threads", "1")
    wires = []
    try:
        for number in range(300):
            wire = Wire(server.address)
            wires.append(wire)
            if number % 3 == 1:
                wire.send(b"GET / HTTP/1.1\r\nHo")
            elif number % 3 == 2:
                wire.send(request("POST", "/", "Content-Length: 10") + b"abc")
        began = time.monotonic()
        for _ in range(20):
            assert server.get("/").status == 200
        assert time.monotonic() - began < 2
    finally:
        for wire in wires:
            wire.close()


def test_a_body_has_its_own_time_from_its_head_on(shared):
    server = shared("wire_app:app", "--head-timeout", "0.5", "--body-timeout", "60")
    with server.connect() as sender:
        sender.send(request("POST", "/late", "Content-Length: 4"))
        # The time for a head is over three times, for heads that began later.
        for _ in range(3):
            with server.connect() as slow:
                slow.send(b"GET / HTTP/1.1\r\n")
                assert slow.response().status == 408
        sender.send(b"body")
        assert sender.response().body == b"POST /late body"
