"""Workers that die: only what they were doing is lost, and they are replaced."""

import os
import signal
import time

import pytest
from harness import Load, Truncated, eventually, request
from harness.process import is_alive


def test_a_killed_worker_is_replaced_within_a_second_and_named_in_the_log(start):
    server = start("gates:app", workers=2)
    before = server.workers()
    os.kill(before[0], signal.SIGKILL)
    eventually(
        lambda: len(set(server.workers()) - set(before)) == 1,
        within=1.5,  # a second, and what looking through /proc takes on a busy machine
        what="a new worker",
    )
    server.wait_for_log(rf"{before[0]}.*(SIGKILL|signal 9|killed)")
    assert server.get("/").status == 200
    assert before[1] in server.workers()


@pytest.mark.slow
def test_killing_a_worker_under_load_fails_only_its_running_requests(start):
    server = start("gates:app", "--threads", "2", workers=2)
    with Load(server.address, clients=4, keep_alive=False, path="/brief") as load:
        eventually(lambda: load.ok >= 50, what="50 answers")
        victim = server.workers()[0]
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in server.workers(), what="the victim is gone")
        eventually(lambda: len(server.workers()) == 2, what="two workers again")
        enough = load.ok + 100
        eventually(lambda: load.ok >= enough, what="100 more answers")
    assert len(load.failures) <= load.clients, load.failures
    assert all(failure.began <= killed + 0.05 for failure in load.failures), load.failures


def test_a_request_in_another_worker_survives_the_kill(start, tmp_path):
    server = start("gates:app", "--threads", "1", workers=2)
    first_gate, second_gate = tmp_path / "first", tmp_path / "second"
    with server.connect() as first:
        first.send(request("GET", f"/hold?{first_gate}"))
        victim = wait_until_held(first_gate)
        # Connected now: the worker that is held cannot accept it any more.
        with server.connect() as second:
            second.send(request("GET", f"/hold?{second_gate}"))
            survivor = wait_until_held(second_gate)
            assert {victim, survivor} == set(server.workers())
            os.kill(victim, signal.SIGKILL)
            with pytest.raises(Truncated):
                first.response()
            second_gate.touch()
            assert second.response().body == str(survivor).encode()


def test_a_worker_that_exits_by_itself_is_replaced_and_its_code_logged(start):
    server = start("gates:app")
    (before,) = server.workers()
    with server.connect() as wire:
        wire.send(request("GET", "/exit"))
        assert wire.rest() == b""
    server.wait_for_log(rf"{before}.*\b7\b")
    assert int(server.get("/").body) != before


def test_a_term_to_a_worker_alone_replaces_it(start):
    server = start("gates:app", workers=1)
    (before,) = server.workers()
    os.kill(before, signal.SIGTERM)
    eventually(lambda: not is_alive(before), what="the worker is gone")
    eventually(lambda: server.workers() not in ([], [before]), what="a new worker")
    assert server.get("/").status == 200
    assert server.stop() == 0


def test_workers_share_the_load_of_new_connections(start):
    server = start("gates:app", workers=2)
    with Load(server.address, clients=4, keep_alive=False, path="/brief") as load:
        eventually(lambda: len(load.answers) == 2, what="answers of both workers")
    assert load.failures == []


def wait_until_held(gate):
    """The pid of the worker that serves the request behind `gate`."""
    started = gate.with_name(gate.name + ".started")
    eventually(started.exists, what=f"{gate.name} is being served")
    return int(started.read_text())
