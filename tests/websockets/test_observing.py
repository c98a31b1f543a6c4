"""WebSockets as monitoring sees them: apart from requests, which they must not hide."""

import pytest
from harness import eventually, request
from harness.admin import Admin
from harness.process import run

ASK = b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
MARK = "(WebSocket)"


def opened(server):
    """A raw connection that echoes."""
    wire = server.connect()
    wire.send(ASK)
    assert wire.head().status == 101
    return wire


@pytest.fixture
def admin(start, tmp_path):
    return Admin(start, tmp_path, "lasting:app", "--threads", "4", workers=1)


def begin_held(admin, gate):
    """A request that runs until the file `gate` exists."""
    wire = admin.server.connect()
    wire.send(request("GET", f"/hold?{gate}"))
    eventually(gate.with_name(gate.name + ".started").exists, what="the call")
    return wire


def test_websockets_are_counted_apart_from_requests(admin, tmp_path):
    wires = [opened(admin.server) for _ in range(6)]
    gate = tmp_path / "gate"
    held = begin_held(admin, gate)

    def counted():
        samples = admin.samples()
        return samples if samples['lockgate_websockets{worker="0"}'] == 6 else None

    samples = eventually(counted, what="six WebSockets are counted")
    assert samples['lockgate_threads_busy{worker="0"}'] == 1
    assert samples["lockgate_busy_ratio"] == 0.25
    age = admin.status()["workers"][0]["running"][0]["age"]
    assert samples["lockgate_longest_request_seconds"] < age
    lines = admin.ctl("requests").stdout.splitlines()
    assert [MARK in line for line in lines[1:]] == [False] + [True] * 6
    top = run("top", "--once", "--admin", admin.address).stdout
    assert top.count(MARK) == 6
    gate.touch()
    assert held.response().status == 200
    for wire in wires:
        wire.close()
    ended = 'lockgate_websockets{worker="0"}'
    eventually(lambda: admin.samples()[ended] == 0, what="the end of all calls is counted")
    assert admin.ctl("requests").stdout == "no request is running\n"


def test_requests_are_shown_beside_more_websockets_than_there_are_entries(admin, tmp_path):
    wires = [opened(admin.server) for _ in range(200)]
    gates = [tmp_path / f"gate{number}" for number in range(4)]
    held = [begin_held(admin, gate) for gate in gates]
    (worker,) = admin.status()["workers"]
    assert (worker["websockets"], worker["threads_busy"]) == (200, 4)
    assert sum(entry["websocket"] for entry in worker["running"]) == 64
    assert admin.samples()["lockgate_busy_ratio"] == 1
    for gate, wire in zip(gates, held, strict=True):
        gate.touch()
        assert wire.response().status == 200
    for wire in wires:
        wire.close()
    eventually(lambda: admin.status()["workers"][0]["websockets"] == 0, what="the end of all calls")
    # The threads that remain are shown again.
    gates = [tmp_path / f"later{number}" for number in range(4)]
    held = [begin_held(admin, gate) for gate in gates]
    assert admin.status()["workers"][0]["threads_busy"] == 4
    for gate, wire in zip(gates, held, strict=True):
        gate.touch()
        assert wire.response().status == 200
