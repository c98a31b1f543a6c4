"""Processes that are killed, stopped or starved: the others notice it and continue."""

import os
import shutil
import signal
import time

import pytest
from harness import eventually, request
from harness.other_user import open_to_others, reachable_python
from harness.process import is_alive, process_stat

# A second, and what looking through /proc takes on a busy machine.
A_SECOND = 1.5


def kill_supervisor(server):
    server.signal(signal.SIGKILL)
    server.wait()


def expect_gone(pids):
    eventually(lambda: not any(map(is_alive, pids)), within=A_SECOND, what=f"{pids} are gone")


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("path", ["/sleep", "/compute", "/hang-at-exit"])
def test_no_worker_outlives_a_killed_supervisor_by_a_second(start, tmp_path, threads, path):
    server = start("stubborn:app", "--threads", threads)
    workers = server.workers()
    began = tmp_path / "began"
    with server.connect() as wire:
        wire.send(request("GET", f"{path}?{began}"))
        eventually(began.exists, what="the call has begun")
        kill_supervisor(server)
        expect_gone(workers)
        wire.rest()


@pytest.mark.parametrize("how", ["sleeps", "computes"])
@pytest.mark.parametrize("user", [None, "12345"])
def test_no_worker_that_boots_outlives_a_killed_supervisor(start, tmp_path, how, user):
    note = tmp_path / "note"
    note.touch()
    note.chmod(0o666)
    arguments, prefix = [], []
    if user:
        open_to_others(tmp_path)
        arguments, prefix = ["--user", user, "--group", user], reachable_python(tmp_path)
    server = start(
        "importing:app", *arguments, environment={"IMPORT": f"{how}:{note}"}, prefix=prefix,
        wait=False, workers=2,
    )  # fmt: skip
    workers = eventually(
        lambda: len(note.read_text().split()) == 2 and server.workers(), what="two imports"
    )
    kill_supervisor(server)
    expect_gone(workers)


def test_a_killed_worker_resets_its_connections_and_no_others(start, tmp_path):
    server = start("gates:app", "--threads", "1", workers=2)
    with server.connect() as one:
        pids = [hold(one, tmp_path / "first")]
        # Connected now: the worker that is held cannot accept it any more.
        with server.connect() as other:
            pids.append(hold(other, tmp_path / "second"))
            os.kill(pids[0], signal.SIGKILL)
            assert one.rest() == b""
            (tmp_path / "second").touch()
            assert other.response().body == str(pids[1]).encode()
    server.wait_for_log(rf"{pids[0]}.*(SIGKILL|signal 9)")
    eventually(lambda: len(server.workers()) == 2, what="a new worker")
    errors = [line for line in server.errors.splitlines() if "[ERROR]" in line]
    assert not [line for line in errors if str(pids[1]) in line], errors


def hold(wire, gate):
    """The pid of the worker that now serves the request behind `gate`."""
    wire.send(request("GET", f"/hold?{gate}"))
    started = gate.with_name(gate.name + ".started")
    eventually(started.exists, what="the call has begun")
    return int(started.read_text())


def test_a_worker_that_dies_in_every_later_boot_is_forked_ever_more_slowly(start, tmp_path):
    note = tmp_path / "note"
    server = start("importing:app", environment={"IMPORT": f"dies-again:{note}"})
    began = time.monotonic()
    os.kill(server.workers()[0], signal.SIGKILL)
    eventually(lambda: len(note.read_text().split()) >= 4, what="three boots")
    # At once, after 0.5 s, after 1 s: the third cannot come earlier than after 1.5 s.
    assert time.monotonic() - began > 1.2
    assert server.process.poll() is None
    assert server.stop() == 0


def test_a_stopped_worker_is_replaced_after_the_timeout_and_its_sibling_serves(start):
    server = start("gates:app", "--timeout", "1", workers=2)
    stopped, sibling = server.workers()
    os.kill(stopped, signal.SIGSTOP)
    eventually(lambda: process_stat(stopped)[0] == "T", what="the worker stands still")
    eventually(lambda: stopped not in server.workers(), what="the worker is replaced")
    server.wait_for_log(rf"{stopped}.*timeout")
    assert sibling in server.workers()
    assert server.get("/").status == 200


def test_a_suspended_worker_that_continues_in_time_loses_nothing(start):
    server = start("gates:app", "--threads", "1")
    (worker,) = server.workers()
    with server.connect() as wire:
        os.kill(worker, signal.SIGSTOP)
        eventually(lambda: process_stat(worker)[0] == "T", what="the worker stands still")
        wire.send(request("GET", "/"))
        os.kill(worker, signal.SIGCONT)
        assert wire.response().body == str(worker).encode()
    assert server.workers() == [worker]


def test_a_thread_that_cannot_be_started_is_logged_and_the_service_continues(start, tmp_path):
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, and setpriv for another user: root has no limit of threads")
    # A user of its own: the limit counts all processes of a user.
    user = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    open_to_others(tmp_path)
    tmp_path.chmod(0o777)
    # The supervisor; the worker's main thread, its thread of orders, and two of its pool.
    prefix = [*reachable_python(tmp_path), *user, "prlimit", "--nproc=5"]
    server = start("gates:app", "--threads", "8", prefix=prefix)
    (worker,) = server.workers()
    gates = [tmp_path / f"gate{number}" for number in range(6)]
    wires = [server.connect() for _ in gates]
    for wire, gate in zip(wires, gates, strict=True):
        wire.send(request("GET", f"/hold?{gate}"))
    server.wait_for_log("cannot start another thread")
    for gate in gates:
        gate.touch()
    for wire in wires:
        assert wire.response().status == 200
        wire.close()
    assert server.get("/").status == 200
    assert server.workers() == [worker]
