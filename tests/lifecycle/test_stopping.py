"""Stopping by signal: no accepted request is lost, and all processes end."""

import os
import signal
import time

import pytest
from harness import Load, eventually, request
from harness.process import is_alive


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "new-connections"])
def test_term_under_load_fails_no_accepted_request(start, workers, keep_alive):
    server = start("gates:app", "--threads", "4", workers=workers)
    with Load(server.address, clients=4, keep_alive=keep_alive, path="/brief") as load:
        eventually(lambda: load.ok >= 100, what="100 answers")
        load.expect_stop()
        assert server.stop() == 0
        load.join()
    assert load.failures == []


def test_a_request_in_flight_is_finished_after_term(start, tmp_path):
    server = start("gates:app", "--threads", "2")
    gate = tmp_path / "gate"
    with server.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        wait_until_held(gate)
        server.signal(signal.SIGTERM)
        eventually(lambda: not server.accepts(), what="the listener is closed")
        gate.touch()
        response = wire.response()
        assert response.status == 200 and response.wants_close()
        wire.expect_close()
    assert server.wait() == 0


def test_a_connection_that_waited_in_the_queue_is_served_after_term(start, tmp_path):
    server = start("gates:app", "--threads", "1")
    gate = tmp_path / "gate"
    with server.connect() as held, server.connect() as queued:
        held.send(request("GET", f"/hold?{gate}"))
        wait_until_held(gate)
        queued.send(request("GET", "/queued"))
        server.signal(signal.SIGTERM)
        gate.touch()
        assert held.response().status == 200
        assert queued.response().status == 200
    assert server.wait() == 0


def test_idle_connections_do_not_delay_the_end(start):
    server = start("gates:app")
    with server.connect() as used, server.connect():
        used.send(request("GET", "/"))
        used.response()
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5


def test_half_a_head_delays_the_end_no_longer_than_its_own_deadline(start):
    server = start("gates:app", "--head-timeout", "1")
    with server.connect() as half:
        half.send(b"GET / HT")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 4


def test_the_graceful_timeout_aborts_what_still_runs(start, tmp_path):
    server = start("gates:app", "--graceful-timeout", "1", "--threads", "2")
    gate = tmp_path / "gate"
    with server.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        wait_until_held(gate)
        workers = server.workers()
        server.signal(signal.SIGTERM)
        assert server.wait(within=10) == 0
        assert wire.rest() == b""
    eventually(lambda: not any(map(is_alive, workers)), what="the workers are gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["INT", "QUIT"])
def test_int_and_quit_do_not_wait_for_requests(start, tmp_path, number):
    server = start("gates:app", "--threads", "2")
    gate = tmp_path / "gate"
    with server.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        wait_until_held(gate)
        server.signal(number)
        assert server.wait(within=5) == 0


def test_a_second_signal_shortens_a_graceful_stop(start, tmp_path):
    server = start("gates:app", "--threads", "2")
    gate = tmp_path / "gate"
    with server.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        wait_until_held(gate)
        server.signal(signal.SIGTERM)
        eventually(lambda: not server.accepts(), what="the listener is closed")
        server.signal(signal.SIGINT)
        assert server.wait(within=5) == 0


def test_term_during_the_boot_is_a_normal_stop(start):
    server = start("slow_import:app", wait=False, workers=2)
    eventually(lambda: len(server.workers()) == 2, what="two workers")
    assert server.stop() == 0


def test_a_normal_end_leaves_no_process_and_no_error(start):
    server = start("hello:app", workers=3)
    workers = server.workers()
    assert len(workers) == 3
    server.get("/")
    assert server.stop() == 0
    assert not any(map(is_alive, workers))
    assert "[ERROR]" not in server.errors and "Traceback" not in server.errors


def test_workers_end_when_their_supervisor_is_killed(start):
    server = start("hello:app", workers=2)
    workers = server.workers()
    assert len(workers) == 2
    server.signal(signal.SIGKILL)
    server.wait()
    eventually(lambda: not any(map(is_alive, workers)), within=2, what="the workers are gone")


def test_busy_workers_end_too_when_their_supervisor_is_killed(start, tmp_path):
    server = start("gates:app", "--threads", "2", workers=1)
    gate = tmp_path / "gate"
    with server.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        (worker,) = [wait_until_held(gate)]
        server.signal(signal.SIGKILL)
        server.wait()
        gate.touch()
        eventually(lambda: not is_alive(worker), within=3, what="the worker is gone")


def test_the_pid_file_is_there_while_the_server_is(start, tmp_path):
    path = tmp_path / "lockgate.pid"
    server = start("hello:app", "--pid", str(path))
    assert path.read_text().strip() == str(server.pid)
    assert server.stop() == 0
    assert not path.exists()


def test_a_stale_pid_file_is_replaced(start, tmp_path):
    path = tmp_path / "lockgate.pid"
    dead = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(dead, 0)
    path.write_text(f"{dead}\n")
    server = start("hello:app", "-p", str(path))
    assert path.read_text().strip() == str(server.pid)


def wait_until_held(gate):
    """The pid of the worker that serves the request behind `gate`."""
    started = gate.with_name(gate.name + ".started")
    eventually(started.exists, what="the request is being served")
    return int(started.read_text())
