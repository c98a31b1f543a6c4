"""Connections with open streams when workers stop, reload or are recycled: no request fails."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from harness import eventually
from harness.http2 import GET, Http2, data, headers, ping
from harness.steady_streams import SteadyStreams

REPEATS = int(os.environ.get("LOCKGATE_TEST_REPEATS", "2"))


def fields(path, method=b"GET"):
    return ((b":method", method), *GET[1:2], (b":path", str(path).encode()), *GET[3:])


def hold(client, stream, gate):
    client.send(headers(stream, fields(f"/hold?{gate}")))
    eventually(gate.with_name(gate.name + ".started").exists, what="the call")


@pytest.mark.parametrize("threads", ["1", "4"])
def test_open_streams_are_answered_when_the_server_stops(start, tmp_path, threads):
    server = start("gates:app", "--threads", threads)
    gate = tmp_path / "gate"
    with Http2(server.address, timeout=20) as client:
        assert client.request(1, fields("/")).status == 200
        hold(client, 3, gate)
        server.signal(signal.SIGTERM)
        server.wait_for_log("stopping: workers finish")
        gate.touch()
        assert client.response(3).status == 200
        client.until_closed()
        assert [last for last, _, _ in client.goaways] == [2**31 - 1, 3], client.goaways
        assert {code for _, code, _ in client.goaways} == {0}
    assert server.wait() == 0


def test_a_stream_that_comes_between_the_two_goaways_is_answered(start, tmp_path):
    server = start("gates:app", "--threads", "4")
    gate = tmp_path / "gate"
    with Http2(server.address, timeout=20) as client:
        hold(client, 1, gate)
        server.signal(signal.SIGTERM)
        # Until a moment without streams comes, or the patience of the server ends.
        assert client.request(3, fields("/")).status == 200
        client.send(ping(b"ignored."))
        client.wait(lambda: client.goaways, "the first GOAWAY")
        assert client.goaways == [(2**31 - 1, 0, b"")]
        client.send(headers(5, fields("/")))
        client.wait(lambda: len(client.goaways) == 2, "the second GOAWAY")
        if client.goaways[-1][0] >= 5:
            assert client.response(5).status == 200
        gate.touch()
        assert client.response(1).status == 200
        client.until_closed()
    assert server.wait() == 0


def test_an_upload_goes_on_while_the_server_stops(start):
    server = start("wire_app:app", "--threads", "2")
    with Http2(server.address, timeout=20) as client:
        client.settled()
        client.send(headers(1, fields("/", b"POST"), end_stream=False))
        client.send(data(1, b"x" * 10_000, end_stream=False))
        client.round_trip()
        server.signal(signal.SIGTERM)
        server.wait_for_log("stopping: workers finish")
        client.send(data(1, b"y" * 10_000))
        assert client.response(1).body == b"POST / " + b"x" * 10_000 + b"y" * 10_000
        client.until_closed()
    assert server.wait() == 0


def test_a_download_goes_on_while_the_server_stops(start):
    server = start("wire_app:app", "--threads", "2")
    with Http2(server.address, timeout=20) as client:
        client.settled()
        client.send(headers(1, fields("/large-stream?megabytes=20")))
        client.wait(lambda: client.streams[1].pieces, "the first piece")
        server.signal(signal.SIGTERM)
        assert len(client.response(1).body) == 20 << 20
        client.until_closed()
        assert len(client.goaways) == 2
    assert server.wait() == 0


def test_an_idle_connection_is_closed_with_goaway(start):
    server = start("gates:app")
    with Http2(server.address, timeout=20) as client:
        assert client.request(1, fields("/")).status == 200
        server.signal(signal.SIGTERM)
        client.until_closed()
        assert client.goaways[-1][:2] == (1, 0), client.goaways
    assert server.wait() == 0


def test_a_fast_stop_ends_open_streams(start, tmp_path):
    server = start("gates:app", "--threads", "4")
    with Http2(server.address, timeout=20) as client:
        hold(client, 1, tmp_path / "gate")
        server.signal(signal.SIGINT)
        client.until_closed()
        assert not client.streams[1].is_ended
    assert server.wait() == 0


@pytest.mark.parametrize("threads", ["1", "4"])
def test_httpx_gets_its_response_when_the_server_stops(start, tmp_path, threads):
    """It fails requests that are open when a GOAWAY comes."""
    server = start("gates:app", "--threads", threads)
    gate = tmp_path / "gate"
    with httpx.Client(http1=False, http2=True, base_url=server.url, timeout=20) as client:
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(client.get, f"/hold?{gate}")
            eventually((tmp_path / "gate.started").exists, what="the call")
            server.signal(signal.SIGTERM)
            server.wait_for_log("stopping: workers finish")
            # Time that has to pass: a GOAWAY might come meanwhile.
            time.sleep(1)
            gate.touch()
            assert held.result().status_code == 200
    assert server.wait() == 0


@pytest.mark.slow
def test_reloads_fail_no_request_of_httpx(start):
    server = start("gates:app", "--threads", "4", workers=2)
    stopped, failures, answers = threading.Event(), [], set()

    def run():
        # It sends a request again that was not processed.
        with httpx.Client(http1=False, http2=True, base_url=server.url, timeout=20) as client:
            while not stopped.is_set():
                try:
                    answers.add(client.get("/brief").raise_for_status().text)
                except httpx.HTTPError as error:
                    failures.append(repr(error))

    clients = [threading.Thread(target=run) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for _ in range(REPEATS):
            eventually(lambda: answers, what="answers")
            before = set(answers)
            server.signal(signal.SIGHUP)
            eventually(lambda: answers - before, within=30, what="a new worker answers")  # noqa: B023
    finally:
        stopped.set()
        for client in clients:
            client.join()
    assert failures == []


@pytest.fixture(params=["plain", "tls"])
def secure(request, certificate, authority):
    """Flags of a server, and the context of its clients."""
    if request.param == "plain":
        return [], None
    return certificate, authority.client()


@pytest.mark.slow
def test_reloads_fail_no_stream(start, secure):
    arguments, context = secure
    server = start("gates:app", "--threads", "4", *arguments, workers=2)
    with SteadyStreams(server.address, context=context) as load:
        for _ in range(REPEATS):
            before, pids = len(server.errors), set(load.answers)
            server.signal(signal.SIGHUP)
            server.wait_for_log("reload", since=before)
            eventually(lambda: set(load.answers) - pids, within=30, what="a new worker answers")  # noqa: B023
            enough = load.ok + 100
            eventually(lambda: load.ok >= enough, within=30, what="100 more answers")  # noqa: B023
    assert load.failures == []
    assert load.connections > 4
    assert server.stop() == 0


@pytest.mark.slow
def test_recycling_fails_no_stream(start, secure):
    arguments, context = secure
    server = start("gates:app", "--threads", "4", "--max-requests", "100", *arguments, workers=2)
    with SteadyStreams(server.address, context=context) as load:
        wanted = 3 * REPEATS
        eventually(lambda: len(load.answers) >= wanted, within=60, what=f"{wanted} workers")
    assert load.failures == []
    assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("round", range(REPEATS))
def test_a_stop_fails_no_stream(start, secure, round):
    arguments, context = secure
    server = start("gates:app", "--threads", "4", *arguments, workers=2)
    with SteadyStreams(server.address, context=context) as load:
        eventually(lambda: load.ok >= 100, within=30, what="100 answers")
        load.expect_stop()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        load.join()
    assert load.failures == []


def test_a_hundred_connections_end_when_the_server_stops(start):
    server = start("gates:app", "--threads", "4")
    clients = [Http2(server.address, timeout=20) for _ in range(100)]
    for client in clients:
        assert client.request(1, fields("/")).status == 200
    server.signal(signal.SIGTERM)
    ending = [threading.Thread(target=client.until_closed) for client in clients]
    for thread in ending:
        thread.start()
    for thread in ending:
        thread.join(20)
    assert all(client.is_closed and client.goaways[-1][1] == 0 for client in clients)
    assert server.wait() == 0
