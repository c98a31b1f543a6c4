"""A process without free descriptors waits without spinning, and continues when there are some."""

import resource
import select
import time
from contextlib import ExitStack

import pytest
from harness import (
    Crowd,
    allow_descriptors,
    context_switches,
    descriptors,
    eventually,
    request,
    resident_kibibytes,
)

LIMIT = 96


def limited(limit):
    """A prefix for a server whose processes may have that number of descriptors."""
    return ["sh", "-c", f'ulimit {limit}; exec "$@"', "sh"]


@pytest.fixture
def poor(alone):
    """A server whose processes may have few descriptors."""
    return lambda app: alone(app=app, prefix=limited(f"-n {LIMIT}"))


def switches_in_a_second(pid):
    before, began = context_switches(pid), time.monotonic()
    eventually(lambda: time.monotonic() >= began + 1)
    return context_switches(pid) - before


def test_connections_leave_descriptors_for_files_and_the_others_wait(poor, still_serves):
    server = poor("wire_app:app")
    (worker,) = server.workers()
    with Crowd(server, 2 * LIMIT) as crowd:
        server.wait_for_log(r"\d+ connections are open, the limit set by the number of descriptors")
        assert descriptors(worker) < LIMIT
        # It waits for a connection to end, and only looks up now and then.
        assert switches_in_a_second(worker) < 100
        # Those that came in are served, also with a body that needs a file.
        crowd.wires[0].send(request("POST", "/file", body=b"x" * 2_000_000))
        assert crowd.wires[0].response().status == 200
    still_serves(server)
    assert server.errors.count("connections are open") == 1


def test_no_descriptor_at_all_is_waited_out_without_spinning(poor, still_serves):
    server = poor("slow_and_hoarding:app")
    (worker,) = server.workers()
    with server.connect() as kept:
        kept.send(request("GET", "/hoard?0"))
        assert int(kept.response().body) > 0
        with Crowd(server, 20, request("GET", "/waiting", "Connection: close")) as crowd:
            server.wait_for_log(r"cannot accept a connection: Too many open files")
            assert switches_in_a_second(worker) < 100
            assert server.errors.count("cannot accept") == 1
            kept.send(request("GET", "/let-go"))
            assert kept.response().status == 200
            # A client that waited is served as soon as there is a descriptor.
            assert all(answer.endswith(b"GET /waiting ") for answer in crowd.answers())
    still_serves(server)


@pytest.mark.slow
def test_unfinished_bodies_leave_descriptors_to_requests_and_to_the_application(start):
    allow_descriptors(1400)
    server = start("selecting:app", workers=2, prefix=limited("-n 1024"))
    head = request("POST", "/", "Content-Length: 20000000")
    with Crowd(server, 1020, head) as crowd:
        piece = b"x" * 53_000
        for _ in range(10):
            crowd.say(piece)
        server.wait_for_log(r"cannot store a request body on disk: \d+ bodies on disk", within=60)
        with ExitStack() as wires:
            asking = [wires.enter_context(server.connect()) for _ in range(8)]
            for wire in asking:
                wire.send(request("GET", "/", "Connection: close"))
            assert [wire.response().status for wire in asking] == [200] * 8
    assert "Too many open files" not in server.errors


def test_bodies_that_find_no_descriptor_get_503_and_those_before_them_are_served(start):
    head = request("POST", "/", "Content-Length: 20000")
    # The rest of the division decides whether a body or a connection is what finds no room, and the
    # descriptors that this process inherits decide the rest.
    for limit in range(72, 82):
        server = start(
            "selecting:app", "--body-memory=0", "--body-memory-total=0",
            prefix=limited(f"-n {limit}"),
        )  # fmt: skip
        body = b"x" * 19_999
        with Crowd(server, 20, head + body, prepare=until_it_has_room(server)) as crowd:
            refused = answered(crowd.wires)
            if not refused:
                continue
            assert {wire.response().status for wire in refused} == {503}
            others = [wire for wire in crowd.wires if wire not in refused]
            for wire in others:
                wire.send(b"x")
            # Refusals that came after the first ones are among them.
            assert {wire.response().status for wire in others} in ({200}, {200, 503})
            return
    pytest.fail("no body was refused")


@pytest.mark.slow
def test_select_works_in_a_view_beside_more_connections_than_it_can_take(start):
    if allow_descriptors(4096) < 4096:
        pytest.skip("this process may not have 4096 descriptors")
    server = start("selecting:app")
    (worker,) = server.workers()
    with Crowd(server, 1500, request("GET", "/")) as crowd:
        assert {wire.response().body for wire in crowd.wires} == {b"0 1"}
        assert descriptors(worker) > 1500
        assert server.get("/select").body == b"1"


def test_the_soft_limit_of_descriptors_is_raised_to_the_hard_one(start):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = start("selecting:app", prefix=limited("-Sn 256"))
    for pid in [server.pid, *server.workers()]:
        soft, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft == min(hard, 1 << 20)


def test_a_hard_limit_below_the_connections_of_a_worker_is_logged_at_the_start(start):
    flags = ["--worker-connections", "300"]
    server = start("selecting:app", *flags, prefix=limited("-n 299"))
    text = "a worker may open 299 files (ulimit -Hn), fewer than worker_connections = 300"
    assert text in server.errors
    enough = start("selecting:app", *flags, prefix=limited("-n 300"))
    assert "ulimit" not in enough.errors


def test_bodies_of_all_requests_hold_bounded_memory(start):
    allow_descriptors(1024)
    server = start("selecting:app", "--body-memory-total=16M")
    (worker,) = server.workers()
    body = b"x" * 500_000
    before = resident_kibibytes(worker)
    with Crowd(server, 240, request("POST", "/", f"Content-Length: {len(body)}")) as crowd:
        for begin in range(0, len(body) - 1, 50_000):
            crowd.say(body[begin : min(begin + 50_000, len(body) - 1)])
        # The last byte is still to come: 120 MB of bodies are under way.
        eventually(lambda: resident_kibibytes(worker) > before + 8 * 1024, what="bodies arrive")
        assert server.get("/").status == 200
        for wire in crowd.wires:
            wire.send(b"x")
        assert {wire.response().body for wire in crowd.wires} == {b"500000 1"}
    assert peak_kibibytes(worker) < before + 80 * 1024


def until_it_has_room(server):
    """After each client it waits until the body is on disk, or is refused, or no client may come.

    Otherwise a busy machine accepts all clients first, and the last of them find no room.
    """
    (worker,) = server.workers()
    before = descriptors(worker)
    wires = []

    def wait(wire):
        wires.append(wire)
        eventually(
            lambda: (
                descriptors(worker) >= before + 2 * len(wires)
                or answered(wires)
                or "connections are open" in server.errors
            ),
            what=f"body {len(wires)} is on disk or refused",
        )

    return wait


def answered(wires):
    """Those for which there is something to read."""
    readable, _, _ = select.select([wire.socket for wire in wires], [], [], 0)
    return [wire for wire in wires if wire.socket in readable]


def peak_kibibytes(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        (line,) = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1])


def test_the_connection_that_was_idle_longest_gives_its_place_to_a_new_client(start):
    server = start("selecting:app", "--worker-connections=20")
    with ExitStack() as wires:
        kept = []
        for _ in range(20):
            wire = wires.enter_context(server.connect())
            wire.send(request("GET", "/"))
            assert wire.response().status == 200
            kept.append(wire)
        # This one is in the middle of a request, however long ago it came.
        kept[0].send(b"GET /busy HTTP/1.1\r\n")
        for _ in range(3):
            new = wires.enter_context(server.connect())
            new.send(request("GET", "/"))
            assert new.response().status == 200
        for wire in kept[1:4]:
            wire.expect_close()
        kept[0].send(b"Host: lockgate.test\r\n\r\n")
        assert kept[0].response().status == 200
        for wire in kept[4:]:
            wire.send(request("GET", "/"))
            assert wire.response().status == 200
    line = server.wait_for_log(r"20 connections are open, the limit set by worker_connections.*")
    assert "idle longest" in line
