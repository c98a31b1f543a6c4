"""Floods: their cost is bounded, and other clients are served."""

import socket

import pytest
from harness import (
    Crowd,
    allow_descriptors,
    chunked,
    descriptors,
    eventually,
    request,
    reset,
    resident_kibibytes,
)

IN_CHUNKS = request("POST", "/", "Transfer-Encoding: chunked")


def worker_of(server):
    (worker,) = server.workers()
    return worker


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHo", request("GET", "/")])
def test_resets_right_after_connect_leak_no_descriptor(alone, still_serves, said):
    server = alone()
    still_serves(server)
    worker = worker_of(server)
    before = descriptors(worker)
    for _ in range(10_000 if not said else 2_000):
        wire = server.connect()
        if said:
            wire.send(said)
        reset(wire)
    still_serves(server)
    eventually(lambda: descriptors(worker) <= before, what=f"{before} descriptors again")


def test_many_idle_connections_cost_little_and_do_not_block_new_clients(alone, still_serves):
    may_have = allow_descriptors(7_000)
    count = min(5_000, may_have - may_have // 8 - 200)
    server = alone()
    still_serves(server)
    worker = worker_of(server)
    before = resident_kibibytes(worker)

    def be_served(wire):
        wire.send(request("GET", "/"))
        assert wire.response().status == 200

    with Crowd(server, count, prepare=be_served) as crowd:
        still_serves(server)
        growth = resident_kibibytes(worker) - before
        assert growth < count * 2, f"{growth} KiB for {count} connections"
        # They were idle and not forgotten.
        for wire in crowd.wires[:: count // 20]:
            be_served(wire)


def test_segments_of_one_byte_are_understood_from_many_clients_at_once(alone, still_serves):
    server = alone()
    data = request("POST", "/bytes", "Connection: close", body=b"abc")
    with Crowd(server, 100) as crowd:
        for at in range(len(data)):
            assert crowd.say(data[at : at + 1]) == 100
        still_serves(server)
        assert all(answer.endswith(b"POST /bytes abc") for answer in crowd.answers())


def test_clients_that_close_their_sending_half_at_once_are_answered(alone, still_serves):
    server = alone()
    with Crowd(server, 200, request("POST", "/half", body=b"abc")) as crowd:
        for wire in crowd.wires:
            wire.finish_sending()
        still_serves(server)
        # On a busy machine some wait longer than 100 ms for a thread, and count as gone (503).
        ends = (b"POST /half abc", b"closed its side of the connection while it waited\n")
        wrong = [answer for answer in crowd.answers() if not answer.endswith(ends)]
        assert not wrong, (len(wrong), wrong[0])


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (request("POST", "/", "Content-Length: 3", "Transfer-Encoding: chunked"), b"400"),
        (request("POST", "/", "Content-Length: 2000"), b"413"),
        (IN_CHUNKS + b"x\r\n", b"400"),
        (request("GET", "/" + "a" * 9000), b"414"),
    ],
)  # fmt: skip
def test_nothing_behind_a_refused_request_is_answered(alone, refused, status):
    server = alone("--limit-request-body", "1000")
    with server.connect() as wire:
        wire.send_while_open(refused + request("GET", "/smuggled") * 3)
        answer = wire.rest()
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert (
        answer.count(b"HTTP/1.1 ") == 1 and b"GET /smuggled" not in answer.partition(b"\r\n\r\n")[2]
    )


@pytest.mark.parametrize("size", [1, 64 * 1024, 2_000_000])
def test_a_request_behind_an_unread_body_is_answered_and_is_not_part_of_it(alone, size):
    server = alone(app="hello:app")
    body = (b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n" * (size // 35 + 1))[:size]
    with server.connect() as wire:
        wire.send(request("POST", "/", body=body))
        wire.send(request("GET", "/pid", "Connection: close"))
        assert wire.response().body == b"hello"
        assert wire.response().body.isdigit()
        wire.expect_close()


def test_an_unread_pipeline_is_bounded_and_yields_to_others(alone, still_serves):
    server = alone()
    still_serves(server)
    worker = worker_of(server)
    before = resident_kibibytes(worker)
    flood = request("GET", "/flood") * 2_000
    with Crowd(server, 20) as crowd:
        for wire in crowd.wires:
            wire.socket.setblocking(False)
        for _ in range(50):
            for wire in crowd.wires:
                try:
                    wire.socket.send(flood)
                except BlockingIOError:
                    continue
        still_serves(server)
        assert resident_kibibytes(worker) - before < 32 * 1024


def test_very_many_chunks_of_one_byte_do_not_block_other_clients(alone, still_serves):
    server = alone()
    chunks = 1_000_000
    piece = b"1\r\nx\r\n" * 10_000
    with server.connect(timeout=60) as wire:
        wire.send(request("POST", "/chunks", "Transfer-Encoding: chunked"))
        for _ in range(chunks // 10_000 // 4):
            wire.send(piece)
        still_serves(server, times=3)
        for _ in range(chunks // 10_000 * 3 // 4):
            wire.send(piece)
        wire.send(b"0\r\n\r\n")
        assert wire.response().body == b"POST /chunks " + b"x" * chunks


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("GET", "/", *["X-Same: 1"] * 10_000), 431),
        (request("GET", "/", *[f"X-{number}: 1" for number in range(32_000)]), 431),
        (request("GET", "/", "X-Long: " + "a" * 1_000_000), 431),
        (request("GET", "/" + "a" * 1_000_000), 414),
        (IN_CHUNKS + b"1;" + b"a" * 1_000_000, 400),
        (IN_CHUNKS + chunked([b"a"], *["A: b"] * 9000), 431),
    ],
    ids=["one name", "many names", "long value", "long target", "long chunk line", "trailers"],
)  # fmt: skip
def test_a_request_over_a_limit_is_answered_before_the_rest_arrives(
    alone, still_serves, data, status
):
    server = alone()
    for _ in range(20):
        with server.connect() as wire:
            wire.send_while_open(data)
            response = wire.response()
            assert response.status == status and response.wants_close()
            wire.expect_close()
            assert not wire.was_reset
    still_serves(server)


@pytest.mark.parametrize("framing", ["Content-Length: 100000000", "Transfer-Encoding: chunked"])
def test_413_is_delivered_to_a_client_that_sends_everything_before_it_reads(alone, framing):
    server = alone("--limit-request-body", "1M")
    body = b"z" * (1 << 20)
    piece = body if "Length" in framing else b"100000\r\n" + body + b"\r\n"
    for _ in range(3):
        with server.connect() as wire:
            wire.send(request("POST", "/", framing))
            sent = 0
            while sent < 95 and wire.send_while_open(piece):
                sent += 1
            assert sent == 95, "the connection was closed on a client that was sending"
            wire.socket.shutdown(socket.SHUT_WR)
            response = wire.response()
            assert response.status == 413 and response.wants_close()
            wire.expect_close()
            assert not wire.was_reset
