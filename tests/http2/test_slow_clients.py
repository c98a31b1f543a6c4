"""Clients that send or read slowly over HTTP/2: bounded time, and no thread is held."""

import json
import time

import pytest
from harness import Wire, eventually
from harness.admin import Admin
from harness.http2 import (
    CANCEL,
    GET,
    INITIAL_WINDOW_SIZE,
    POST,
    PREFACE,
    Http2,
    block,
    data,
    frame,
    headers,
    ping,
    settings,
    window_update,
)

HEADERS_FRAME = 1
SHORT = (
    *("--head-timeout", "1s", "--body-timeout", "1s", "--write-timeout", "1s"),
    *("--keep-alive", "2s"),
)


def fields(path, *more, method=b"GET"):
    return ((b":method", method), *GET[1:2], (b":path", str(path).encode()), *GET[3:], *more)


@pytest.fixture(scope="module", params=["1", "2"])
def server(shared, request):
    return shared("wire_app:app", *SHORT, "--threads", request.param)


@pytest.mark.parametrize("sent", [PREFACE[:10], PREFACE, PREFACE + settings()])
def test_a_connection_without_a_request_is_closed(server, sent):
    with Wire(server.address) as wire:
        wire.send(sent)
        began = time.monotonic()
        while wire.socket.recv(4096):
            pass
        assert 0.8 < time.monotonic() - began < 5


@pytest.mark.parametrize("is_first", [True, False])
def test_a_header_block_that_does_not_end_ends_its_connection(server, is_first):
    with Http2(server.address) as client:
        client.settled()
        if not is_first:
            assert client.request(1, fields("/")).status == 200
        client.send(frame(HEADERS_FRAME, 0, 3, block(GET)[:10]))
        began = time.monotonic()
        client.until_closed()
        assert 0.8 < time.monotonic() - began < 5


def test_drops_of_a_frame_do_not_keep_a_connection(server):
    with Http2(server.address) as client:
        client.settled()
        assert client.request(1, fields("/")).status == 200
        began = time.monotonic()
        for byte in headers(3, fields("/", (b"x-a", b"b" * 1000))):
            client.send(bytes([byte]))
            time.sleep(0.05)
            if time.monotonic() - began > 4:
                break
        client.until_closed()
        assert 1.5 < time.monotonic() - began < 6
        assert client.goaways[-1][:2] == (1, 0)


def test_a_slow_body_gets_408_and_other_streams_are_answered(server):
    with Http2(server.address) as client:
        client.settled()
        client.send(headers(1, fields("/", method=b"POST"), end_stream=False))
        began, number = time.monotonic(), 3
        while not client.streams[1].is_ended and time.monotonic() - began < 10:
            assert client.request(number, fields("/")).status == 200
            client.send(data(1, b"x", end_stream=False) if number < 20 else ping())
            number += 2
            time.sleep(0.01)
        assert client.streams[1].status == 408
        assert time.monotonic() - began > 0.8


@pytest.mark.parametrize("path", ["/large?megabytes=4", "/large-stream?megabytes=4", "/file"])
def test_a_stream_whose_window_stays_closed_is_reset_and_frees_its_thread(server, path):
    opening = settings((INITIAL_WINDOW_SIZE, 100))
    with Http2(server.address, opening, window_updates=False) as client:
        client.settled()
        client.send(headers(1, fields(path)))
        found = client.streams[1]
        began = time.monotonic()
        client.wait(lambda: found.reset is not None, "RST_STREAM")
        assert found.reset == CANCEL
        assert len(found.body) == 100
        assert 0.8 < time.monotonic() - began < 6
        client.send(settings((INITIAL_WINDOW_SIZE, 65_535)))
        client.settled()
        assert client.request(3, fields("/")).status == 200


def test_a_connection_that_is_not_read_is_aborted(server):
    with Http2(server.address) as client:
        client.settled()
        client.send(window_update(0, 1 << 30), settings((INITIAL_WINDOW_SIZE, 1 << 30)))
        client.send(headers(1, fields("/large-stream?megabytes=64")))
        began = time.monotonic()

        def is_reset():
            client.socket.setblocking(False)
            try:
                client.socket.send(ping())
            except BlockingIOError:
                return False
            except OSError:
                return True
            finally:
                client.socket.setblocking(True)
            # Not so often that it is a flood.
            time.sleep(0.1)
            return False

        eventually(is_reset, within=15, what="the connection is reset")
        assert time.monotonic() - began > 0.8


def test_a_window_that_is_opened_now_and_then_is_enough(server):
    opening = settings((INITIAL_WINDOW_SIZE, 10_000))
    with Http2(server.address, opening, window_updates=False) as client:
        client.settled()
        client.send(window_update(0, 1 << 30), headers(1, fields("/large-stream?megabytes=1")))
        while not client.streams[1].is_ended:
            before = len(client.streams[1].body)
            client.wait(lambda: len(client.streams[1].body) > before, "more")  # noqa: B023
            time.sleep(0.005)
            client.send(window_update(1, len(client.streams[1].body) - before))
        assert len(client.streams[1].body) == 1 << 20


def test_keep_alive_zero_ends_a_connection_after_its_response(shared):
    server = shared("wire_app:app", "--keep-alive", "0")
    with Http2(server.address) as client:
        assert client.request(1, fields("/")).body == b"GET / "
        client.until_closed()
        assert client.goaways[-1][:2] == (1, 0)


def test_streams_with_nothing_to_do_cost_no_cpu(start, tmp_path):
    """A long call and an upload that waits on one connection."""
    server = start("gates:app", "--threads", "2", "--keep-alive", "0")
    gate = tmp_path / "gate"
    with Http2(server.address, timeout=30) as client:
        client.settled()
        client.send(headers(1, fields(f"/hold?{gate}")))
        eventually((tmp_path / "gate.started").exists, what="the call")
        client.send(headers(3, POST, end_stream=False))
        (worker,) = server.workers()
        before = cpu_ticks(worker)
        # Time that has to pass.
        time.sleep(1.5)
        # The view itself looks at its file 200 times a second.
        assert cpu_ticks(worker) - before < 60
        client.send(data(3, b"x"))
        gate.touch()
        assert client.response(1).status == client.response(3).status == 200


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        words = file.read().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def test_connections_with_running_views_free_their_places(start, tmp_path):
    server = start("gates:app", "--threads", "2", "--worker-connections", "4")
    for turn in range(6):
        gate = tmp_path / f"gate{turn}"
        with Http2(server.address) as client:
            client.send(headers(1, fields(f"/hold?{gate}")))
            eventually((tmp_path / f"gate{turn}.started").exists, what="the call")
        gate.touch()
    with Http2(server.address) as client:
        assert client.request(1, fields("/")).status == 200


@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_late_stream_has_its_line_and_its_count(start, tmp_path, threads):
    log = tmp_path / "access.log"
    admin = Admin(
        start, tmp_path, "late:app", "--request-timeout", "1s", "--threads", threads,
        "--access-logfile", str(log), "--access-logformat", "json",
    )  # fmt: skip
    with Http2(admin.server.address, timeout=20) as client:
        assert client.request(1, fields("/spin")).status == 504
        client.send(headers(3, fields("/stream")))
        client.wait(lambda: client.streams[3].reset is not None, "RST_STREAM")

    def entries():
        return [json.loads(line) for line in log.read_text().splitlines()]

    eventually(lambda: len(entries()) == 2, what="two lines")
    assert [(one["status"], one["outcome"], one["reason"]) for one in entries()] == [
        (504, "expired", "request_timeout"),
        (200, "expired", None),
    ]
    lost = 'lockgate_requests_lost_total{reason="request_timeout"}'
    eventually(lambda: admin.samples()[lost] == 2, what="two losses")


def test_a_late_close_disturbs_no_other_stream(start):
    server = start("late:app", "--request-timeout", "1s", "--threads", "4")
    with Http2(server.address, timeout=20) as client:
        assert client.request(1, fields("/late-close")).body == b"whole"
        assert client.request(3, fields("/pid")).status == 200
        server.wait_for_log(r"GET /late-close .*the response was sent, but the call is still")
        server.wait_for_log(r"GET /late-close .*its thread is free again")
        assert client.request(5, fields("/pid")).status == 200


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_worker_that_stops_waits_for_close(start, tmp_path, threads):
    server = start("closing:app", "--threads", threads)
    gate = tmp_path / "gate"
    with Http2(server.address, timeout=20) as client:
        client.send(headers(1, fields(f"/announced?{gate}")))
        assert client.response(1).body == b"one two"
        eventually(gate.with_suffix(".started").exists, what="close() has started")
        server.signal(15)
        server.wait_for_log("stopping")
        with pytest.raises(AssertionError):
            server.wait(within=1.5)
        gate.touch()
        assert server.wait() == 0
    assert gate.with_suffix(".closed").exists()
