"""close(): the response does not wait for it, the next request of the same connection does."""

import os
import signal

import pytest
from harness import Truncated, eventually, request

THREADS = ["1", "4", "auto"]


@pytest.fixture(params=THREADS, scope="module")
def server(request, shared):
    server = shared("closing:app", "--threads", request.param)
    server.threads = request.param
    return server


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


@pytest.mark.parametrize("is_pipelined", [False, True], ids=["one by one", "pipelined"])
@pytest.mark.parametrize(
    ("method", "kind", "status", "body"),
    [
        ("GET", "streamed", 200, b"one two"),
        ("POST", "announced", 200, b"one two"),
        ("GET", "large", 200, b"x" * 5_000_000),
        ("GET", "written", 200, b"one two"),
        ("HEAD", "streamed", 200, b""),
        ("GET", "empty", 204, b""),
        ("GET", "failing", 500, b"500 Internal Server Error\n"),
    ],
)
def test_a_response_leaves_before_close_and_the_next_request_is_called_after_it(
    server, gate, method, kind, status, body, is_pipelined
):
    if kind == "large" and server.threads == "1":
        pytest.skip("with one thread the rest of the response is not sent during close()")
    first = request(method, f"/{kind}?{gate}", body=b"news" if method == "POST" else None)
    following = request("GET", f"/is-closed?{gate}")
    with server.connect() as wire:
        wire.send(first + following if is_pipelined else first)
        response = wire.response(method)
        assert (response.status, response.body) == (status, body)
        wait_for(gate, "started")
        if not is_pipelined:
            wire.send(following)
        if server.threads != "1":
            # Other connections are served meanwhile, and this one's request is not called.
            for _ in range(3):
                assert server.get(f"/is-closed?{gate}").body == b"no"
            calls = server.get("/calls").body.decode().split()
            assert calls[-5:] == [f"/{kind}", *["/is-closed"] * 3, "/calls"]
        gate.touch()
        assert wire.response().body == b"yes"


@pytest.mark.parametrize("kind", ["breaking", "short", "last"])
def test_a_response_that_ends_its_connection_ends_it_before_close(server, gate, kind):
    with server.connect() as wire:
        wire.send(request("GET", f"/{kind}?{gate}") + request("GET", f"/is-closed?{gate}"))
        response = wire.head()
        assert response.status == 200
        if kind == "breaking":
            assert wire.chunk() == b"one"
            with pytest.raises(Truncated):
                wire.chunk()
        else:
            assert wire.rest() == b"one"
        wait_for(gate, "started")
        assert not gate.with_suffix(".closed").exists()
    gate.touch()
    wait_for(gate, "closed")
    assert server.get(f"/is-closed?{gate}").body == b"yes"


def test_close_is_called_when_a_client_leaves_and_its_slot_is_freed(start, gate):
    server = start("closing:app", "--threads", "2", "--worker-connections", "3")
    for turn in range(4):
        path = gate.with_name(f"gate-{turn}")
        with server.connect() as wire:
            wire.send(request("GET", f"/endless?{path}"))
            wire.head()
            wire.chunk()
        wait_for(path, "started")
        assert server.get(f"/is-closed?{path}").body == b"no"
        path.touch()
        wait_for(path, "closed")
    with server.connect() as wire:
        wire.send(request("GET", f"/announced?{gate}"))
        assert wire.response().body == b"one two"
        wait_for(gate, "started")
    gate.touch()
    assert server.get("/calls").status == 200


def test_the_time_for_a_next_request_begins_after_close(start, gate):
    server = start("closing:app", "--threads", "2", "--keep-alive", "0.3")
    with server.connect() as wire, server.connect() as idle:
        wire.send(request("GET", f"/announced?{gate}"))
        assert wire.response().body == b"one two"
        idle.send(request("GET", "/calls"))
        assert idle.response().status == 200
        # What was idle for less time has been closed; this connection waits for close().
        idle.expect_close()
        wire.send(request("GET", f"/is-closed?{gate}"))
        gate.touch()
        assert wire.response().body == b"yes"
        wire.expect_close()


@pytest.mark.parametrize(
    ("threads", "kind"), [("1", "announced"), ("2", "announced"), ("2", "last"), ("2", "breaking")]
)
def test_a_worker_that_stops_waits_for_close(start, gate, threads, kind):
    server = start("closing:app", "--threads", threads, "--graceful-timeout", "25")
    with server.connect() as wire:
        wire.send(request("GET", f"/{kind}?{gate}"))
        assert wire.head().status == 200
        wait_for(gate, "started")
        [worker] = server.workers()
        server.signal(signal.SIGTERM)
        server.wait_for_log("stop|drain|TERM")
        # A connection that only waits for a next request is closed after a second.
        with pytest.raises(AssertionError):
            server.wait(within=1.5)
        os.kill(worker, 0)
        gate.touch()
        assert server.wait() == 0
    assert gate.with_suffix(".closed").exists()


def wait_for(gate, event):
    eventually(
        lambda: gate.with_suffix(f".{event}").exists(), within=15, what=f"close() has {event}"
    )
