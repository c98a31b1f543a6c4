"""Clients that send or read as slowly as possible: they occupy no thread, and are cut off."""

import time

import pytest
from harness import Crowd, eventually, request, sockets

MANY = 200
POST = request("POST", "/slow", "Content-Length: 1000000")


def drip(crowd, within=20.0):
    """One byte from each, again and again, until all are closed; returns the answers."""
    deadline = time.monotonic() + within
    waiting = list(crowd.wires)
    for wire in waiting:
        wire.socket.settimeout(0.002)
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} drip for ever"
        for wire in list(waiting):
            try:
                is_open = wire.send_while_open(b"a") and wire.receive()
            except TimeoutError:
                continue
            if not is_open or wire.pending:
                waiting.remove(wire)
    return [wire.pending for wire in crowd.wires]


def test_heads_that_never_end_delay_no_other_client_and_end_with_408(alone, still_serves):
    server = alone("--head-timeout", "2")
    with Crowd(server, MANY, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ") as crowd:
        still_serves(server)
        for answer in drip(crowd):
            assert answer.startswith(b"HTTP/1.1 408 ")
        still_serves(server)


def test_one_byte_and_then_silence_ends_with_408(alone, still_serves):
    server = alone("--head-timeout", "1")
    with Crowd(server, MANY, b"G") as crowd:
        still_serves(server)
        assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in crowd.answers())


def test_a_connection_without_a_request_is_closed_without_a_response(alone, still_serves):
    server = alone("--head-timeout", "1")
    with Crowd(server, MANY) as crowd:
        still_serves(server)
        assert set(crowd.answers()) == {b""}


def test_an_idle_connection_is_closed_without_a_response(alone, still_serves):
    server = alone("--keep-alive", "1")

    def be_served(wire):
        wire.send(request("GET", "/"))
        assert wire.response().status == 200

    with Crowd(server, 50, prepare=be_served) as crowd:
        still_serves(server)
        assert set(crowd.answers()) == {b""}


def test_slow_bodies_delay_no_other_client_and_end_with_408(alone, still_serves, tmp_path):
    log = tmp_path / "access.log"
    form = '%(s)s "%(r)s" %(B)s'
    # Far above what a byte at a time can be, so that the last one left is still too slow.
    rate = ["--body-timeout", "1", "--body-min-rate", "1M"]
    server = alone(*rate, "--access-logfile", str(log), "--access-logformat", form)
    with Crowd(server, MANY, POST) as crowd:
        still_serves(server)
        answers = drip(crowd)
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    body = len(answers[0].partition(b"\r\n\r\n")[2])
    line = f'408 "POST /slow HTTP/1.1" {body}\n'
    eventually(lambda: log.read_text().count(line) == MANY, what=f"{MANY} lines {line!r}")
    still_serves(server)


def test_a_body_below_the_minimum_rate_is_refused_while_it_arrives(alone):
    server = alone("--body-timeout", "1", "--body-min-rate", "1M")
    with server.connect(timeout=0.02) as wire:
        wire.send(request("POST", "/", "Content-Length: 100000000"))
        piece, deadline = b"x" * 1000, time.monotonic() + 15
        while time.monotonic() < deadline and wire.send_while_open(piece):
            try:
                wire.receive()
                break
            except TimeoutError:
                continue
        assert wire.pending.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_keeps_its_rate_is_read_to_its_end(alone):
    server = alone("--body-timeout", "1", "--body-min-rate", "1000")
    body = b"y" * 6000
    with server.connect() as wire:
        wire.send(request("POST", "/steady", f"Content-Length: {len(body)}"))
        began = time.monotonic()
        for at in range(0, len(body), 600):
            # Twice the rate, for longer than the grace.
            eventually(lambda due=at / 2000: time.monotonic() - began >= due)
            wire.send(body[at : at + 600])
        assert wire.response().body == b"POST /steady " + body


@pytest.mark.parametrize("target", ["/large?megabytes=8", "/file?size=8000000"])
def test_unread_responses_delay_no_other_client_and_are_aborted(alone, still_serves, target):
    server = alone("--write-timeout", "1")
    (worker,) = server.workers()
    before = sockets(worker)
    with Crowd(server, 40, request("GET", target), receive_buffer=4096) as crowd:
        still_serves(server)
        eventually(lambda: sockets(worker) <= before, within=20, what="no connection is left")
        # What was on its way arrives; the rest never does.
        assert all(len(wire.rest()) < 8_000_000 for wire in crowd.wires)
    still_serves(server)


def test_an_unread_stream_frees_its_thread(alone, still_serves):
    server = alone("--write-timeout", "1")
    opening = request("GET", "/large-stream?megabytes=50")
    with Crowd(server, 3, opening, receive_buffer=4096):
        # The one thread is in a call that a client does not read: PEP 3333 has it wait there.
        still_serves(server)


def test_a_stream_that_is_read_below_the_minimum_rate_is_aborted(alone, still_serves):
    server = alone("--write-timeout", "1", "--write-min-rate", "1M")
    opening = request("GET", "/large-stream?megabytes=50")
    with Crowd(server, 1, opening, receive_buffer=4096) as crowd:
        (wire,) = crowd.wires
        began, taken = time.monotonic(), 0
        while True:
            # At most 200 KB in a second, so always progress and never enough.
            eventually(lambda due=taken / 200_000: time.monotonic() - began >= due, within=20)
            wire.pending = b""
            if not wire.receive():
                break
            taken += len(wire.pending)
            assert taken < 20_000_000, "it was not stopped"
    still_serves(server)


def test_the_time_of_a_slow_application_is_not_charged_to_the_client(alone):
    server = alone("--write-timeout", "1", "--write-min-rate", "1M", app="slow_and_hoarding:app")
    with server.connect() as wire:
        wire.send(request("GET", "/slow"))
        assert wire.response().body == b"piece;" * 5
