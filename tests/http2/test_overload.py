"""Streams that wait, are refused, late, or reset; the other streams of the connection go on."""

import time

import pytest
from harness import eventually
from harness.http2 import GET, Http2, data, goaway, headers, rst_stream

LIMIT = 1.5


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def fields(path, *more, method=b"GET"):
    return ((b":method", method), *GET[1:2], (b":path", str(path).encode()), *GET[3:], *more)


def hold(client, stream, gate):
    before = len(lines(gate.with_name("gate.started")))
    client.send(headers(stream, fields(f"/hold?{gate}")))
    eventually(lambda: len(lines(gate.with_name("gate.started"))) > before, what="the call")


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("target", ["/work", "/stream"])
def test_a_view_sees_that_its_stream_was_reset(shared, tmp_path, threads, target):
    server = shared("patience:app", "--threads", threads)
    notes = tmp_path / "notes"
    with Http2(server.address) as client:
        client.send(headers(1, fields(f"{target}?{notes}")))
        eventually(lambda: lines(notes) == ["connected True"], what="the call has begun")
        client.send(rst_stream(1))
        eventually(lambda: lines(notes) == ["connected True", "left True"], what="it has noticed")
        assert client.request(3, fields("/ask")).body == b"False"


@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_view_sees_that_its_connection_was_closed(shared, tmp_path, threads):
    server = shared("patience:app", "--threads", threads)
    notes = tmp_path / "notes"
    with Http2(server.address) as client:
        client.send(headers(1, fields(f"/work?{notes}")))
        eventually(lambda: lines(notes) == ["connected True"], what="the call has begun")
    eventually(lambda: lines(notes) == ["connected True", "left True"], what="it has noticed")


@pytest.mark.parametrize("threads", ["1", "2"])
def test_streams_that_were_reset_in_the_queue_never_reach_the_application(start, tmp_path, threads):
    log, gate = tmp_path / "access.log", tmp_path / "gate"
    server = start("patience:app", "--threads", threads, "--access-logfile", str(log))
    count = int(threads)
    with Http2(server.address) as client:
        for number in range(count):
            hold(client, 1 + 2 * number, gate)
        waiting = range(101, 121, 2)
        for number in waiting:
            client.send(headers(number, fields(f"/note?{tmp_path}/gone{number}")))
        client.send(*map(rst_stream, waiting))
        # With one thread the event loop runs when the call has ended.
        gate.touch()
        for number in range(count):
            assert client.response(1 + 2 * number).body == b"held"
        assert client.request(201, fields(f"/note?{tmp_path}/after")).body == b"noted"
    assert not list(tmp_path.glob("gone*"))
    eventually(lambda: sum("/gone" in line for line in lines(log)) == 10, what="their lines")
    assert all('" 499 ' in line for line in lines(log) if "/gone" in line)


def test_a_stream_is_refused_when_it_has_waited_for_the_queue_timeout(start, tmp_path):
    gate = tmp_path / "gate"
    server = start("patience:app", "--threads", "2", "--queue-timeout", "300ms")
    with Http2(server.address) as client:
        hold(client, 1, gate)
        hold(client, 3, gate)
        began = time.monotonic()
        response = client.request(5, fields(f"/note?{tmp_path}/late"))
        assert time.monotonic() - began >= 0.3
        assert (response.status, response.field("retry-after")) == (503, "1")
        gate.touch()
        assert client.response(1).body == client.response(3).body == b"held"
        assert client.request(7, fields("/ask")).body == b"False"
        assert not client.goaways
    assert not (tmp_path / "late").exists()
    server.wait_for_log(r"refused with 503: 1 waited .* queue_timeout = 300ms")


def test_a_stream_that_finds_the_queue_full_is_refused_at_once(start, tmp_path):
    gate = tmp_path / "gate"
    server = start("patience:app", "--threads", "2", "--queue-size", "2")
    with Http2(server.address) as client:
        hold(client, 1, gate)
        hold(client, 3, gate)
        client.send(headers(5, fields("/ask")), headers(7, fields("/ask")))
        response = client.request(9, fields(f"/note?{tmp_path}/beyond"))
        assert (response.status, response.field("retry-after")) == (503, "1")
        gate.touch()
        for stream in (1, 3, 5, 7):
            assert client.response(stream).status == 200
    assert not (tmp_path / "beyond").exists()
    server.wait_for_log(r"refused with 503: 1 arrived while queue_size = 2 requests were waiting")


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("target", ["/spin", "/sleep"])
def test_a_late_stream_gets_504_and_the_connection_continues(start, threads, target):
    server = start("late:app", "--request-timeout", str(LIMIT), "--threads", threads)
    with Http2(server.address, timeout=30) as client:
        began = time.monotonic()
        assert client.request(1, fields(target)).status == 504
        assert LIMIT * 0.9 < time.monotonic() - began < LIMIT + 1
        if threads != "1":
            assert client.request(3, fields("/pid")).status == 200
    server.wait_for_log(rf"GET {target} of 127\.0\.0\.1 has taken .*answered with 504")


def test_other_streams_are_answered_while_one_is_late(start):
    server = start("late:app", "--request-timeout", str(LIMIT), "--threads", "4")
    with Http2(server.address, timeout=30) as client:
        client.send(headers(1, fields("/spin")))
        number = 3
        while client.streams[1].fields is None:
            assert client.request(number, fields("/brief")).status == 200
            number += 2
        assert client.response(1).status == 504
        assert number > 10
        assert client.request(number, fields("/pid")).status == 200


def test_a_late_stream_whose_response_has_begun_is_reset(start):
    server = start("late:app", "--request-timeout", str(LIMIT), "--threads", "4")
    with Http2(server.address, timeout=30) as client:
        client.send(headers(1, fields("/stream")))
        client.wait(lambda: client.streams[1].reset is not None, "RST_STREAM")
        assert not client.streams[1].is_ended
        assert client.request(3, fields("/pid")).status == 200


REFUSED = [
    (("--limit-request-line", "64"), fields("/" + "a" * 100), 414),
    (("--limit-request-fields", "5"),
     fields("/", *((b"x-%d" % number, b"1") for number in range(10))), 431),
    (("--limit-request-field-size", "100"), fields("/", (b"x-a", b"b" * 200)), 431),
    (("--limit-request-head", "1KiB"),
     fields("/", *((b"x-%d" % number, b"b" * 90) for number in range(20))), 431),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "head", "status"), REFUSED)
def test_heads_above_a_limit_are_refused_and_the_connection_continues(
    shared, arguments, head, status
):
    server = shared("wire_app:app", *arguments)
    with Http2(server.address) as client:
        assert client.request(1, head).status == status
        assert client.request(3, fields("/")).body == b"GET / "


@pytest.mark.parametrize("has_length", [True, False])
def test_bodies_above_the_limit_are_refused_and_the_connection_continues(shared, has_length):
    server = shared("wire_app:app", "--limit-request-body", "1000")
    length = [(b"content-length", b"5000")] if has_length else []
    with Http2(server.address) as client:
        client.settled()
        client.send(headers(1, fields("/", *length, method=b"POST"), end_stream=False))
        for _ in range(5):
            client.send(data(1, b"x" * 1000, end_stream=False))
        found = client.streams[1]
        client.wait(lambda: found.is_ended, "a response")
        assert found.status == 413
        assert client.request(3, fields("/", method=b"POST"), b"x" * 1000).status == 200


def test_a_connection_ends_after_its_number_of_requests_and_loses_none(shared):
    server = shared("wire_app:app", "--limit-requests-per-connection", "10", "--threads", "2")
    sent = 0
    with Http2(server.address) as client:
        client.settled()
        while not client.is_closed and sent < 100:
            stream = 1 + 2 * sent
            client.send(headers(stream, fields(f"/{sent}")))
            sent += 1
            client.wait(lambda: client.streams[stream].is_ended or client.is_closed, "answer")  # noqa: B023
            if client.goaways and client.goaways[-1][0] < 2**31 - 1:
                break
        assert len(client.goaways) == 2 and client.goaways[0][0] == 2**31 - 1, client.goaways
        last = client.goaways[-1][0]
        answered = [number for number, found in client.streams.items() if found.is_ended]
        assert max(answered) == last and sent < 20
        client.send(goaway())
        client.until_closed()


def test_an_idle_connection_ends_after_keep_alive(shared):
    server = shared("wire_app:app", "--keep-alive", "500ms")
    with Http2(server.address) as client:
        assert client.request(1, fields("/")).status == 200
        began = time.monotonic()
        client.until_closed()
        assert 0.4 < time.monotonic() - began < 5
        assert client.goaways and client.goaways[-1][:2] == (1, 0)


def test_a_ping_does_not_keep_a_connection_and_a_running_stream_does(shared, tmp_path):
    server = shared("patience:app", "--keep-alive", "500ms", "--threads", "2")
    gate = tmp_path / "gate"
    with Http2(server.address) as client:
        assert client.request(1, fields("/ask")).status == 200
        hold(client, 3, gate)
        # Time that has to pass: more than keep_alive.
        time.sleep(1)
        client.round_trip()
        gate.touch()
        assert client.response(3).body == b"held"


def test_a_body_that_stops_is_408_and_the_connection_continues(shared):
    server = shared("wire_app:app", "--body-timeout", "1s")
    with Http2(server.address) as client:
        client.settled()
        client.send(headers(1, fields("/", method=b"POST"), end_stream=False))
        client.send(data(1, b"x", end_stream=False))
        found = client.streams[1]
        client.wait(lambda: found.is_ended, "a response")
        assert found.status == 408
        assert client.request(3, fields("/")).status == 200
