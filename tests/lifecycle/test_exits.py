"""The exit of a worker: the application's threads, executors and exit functions finish as at the
end of a Python program, within `graceful_timeout`, and no process is left."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from harness import eventually, request, run
from harness.process import is_alive, processes_of_session

sys.path.insert(0, str(Path(__file__).parents[1]))
from exit_drill import WAYS, Drill

KINDS = ["threads", "processes", "thread", "process", "daemon", "exit"]
PRELOAD = pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])


@pytest.fixture
def finishing(start, tmp_path):
    """Starts a server of `finishing`; gives it, and the file of its notes."""

    def start_finishing(*arguments, environment=None, **options):
        notes = tmp_path / "notes"
        notes.touch()
        environment = {"NOTES": str(notes), **(environment or {})}
        return start("finishing:app", *arguments, environment=environment, **options), notes

    return start_finishing


def works(*parts):
    return "/?" + "&".join(parts)


@PRELOAD
@pytest.mark.parametrize("way", ["TERM", "INT", "QUIT", "HUP", "max_requests"])
def test_work_that_outlives_its_request_is_finished(finishing, way, preload):
    arguments = [*preload, "--max-requests", "1"] if way == "max_requests" else preload
    server, notes = finishing(*arguments)
    response = server.get(works(*(f"{kind},{kind},0.5" for kind in KINDS)))
    assert response.status == 200
    worker = int(response.body)
    if way in ("HUP", "max_requests"):
        if way == "HUP":
            server.signal(signal.SIGHUP)
        eventually(lambda: not is_alive(worker), what="the worker has exited")
        assert server.get("/").status == 200
        assert server.stop() == 0
    else:
        server.signal(getattr(signal, f"SIG{way}"))
        assert server.wait() == 0
    text = notes.read_text()
    assert [kind for kind in KINDS if f"{kind} ended" not in text] == []
    # As in Python: threads first, then exit functions.
    assert text.index("thread ended") < text.index("exit begins")
    expect_no_process(server)
    assert "[ERROR]" not in server.errors and "Traceback" not in server.errors


@pytest.mark.slow
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_processes_of_any_start_method_finish(finishing, context):
    server, notes = finishing(environment={"CONTEXT": context})
    server.get(works("processes,pool,0.5", "process,process,0.5"))
    assert server.stop() == 0
    assert "pool ended" in notes.read_text() and "process ended" in notes.read_text()
    expect_no_process(server)


@PRELOAD
@pytest.mark.parametrize(
    "number, within", [(signal.SIGTERM, "graceful_timeout"), (signal.SIGINT, "a quick exit")],
    ids=["TERM", "INT"],
)  # fmt: skip
def test_what_an_exit_waits_for_is_named_after_a_second_and_at_the_end(
    finishing, preload, number, within
):
    server, notes = finishing("--graceful-timeout", "3", *preload)
    server.get(works("endless,crawler,0", "processes,pool,600", "program,program,0"))
    eventually(lambda: "pool begins" in notes.read_text(), what="the job runs")
    server.signal(number)
    assert server.wait() == 0
    place = r"thread 'crawler' at \S+finishing\.py:\d+ in wait_for_ever"
    assert re.search(rf"exit waits for the {place}.*; forced exit in \d\.\d\d s", server.errors)
    assert re.search(rf"not finished within \S+ s \(.*{within}\): .*{place}", server.errors)
    program = int(re.search(r"program is (\d+)", notes.read_text())[1])
    assert re.search(rf"left running: sleep \(pid {program}\)", server.errors)
    assert "killed with it" in server.errors
    eventually(lambda: processes_of_session(server.pid) == [program], what="the pool has gone")


def test_an_exit_that_takes_less_than_a_second_is_not_logged(finishing):
    server, notes = finishing()
    server.get(works("thread,brief,0.1"))
    assert server.stop() == 0
    assert "brief ended" in notes.read_text() and "exit waits" not in server.errors


def test_children_of_a_worker_that_is_killed_in_a_request_die_or_are_named(finishing):
    server, notes = finishing("--graceful-timeout", "1")
    server.get(works("processes,pool,600", "program,program,0"))
    with server.connect() as wire:
        wire.send(request("GET", works("hold,held,0")))
        eventually(lambda: "held begins" in notes.read_text(), what="the request runs")
        eventually(lambda: "pool begins" in notes.read_text(), what="the job runs")
        assert server.stop() == 0
    program = int(re.search(r"program is (\d+)", notes.read_text())[1])
    assert re.search(rf"worker 0 .*left running: sleep \(pid {program}\)", server.errors)
    eventually(lambda: processes_of_session(server.pid) == [program], what="the pool has gone")


@pytest.mark.parametrize("kind", ["exit", "thread"])
def test_an_exiting_worker_ends_when_its_supervisor_is_killed(finishing, kind):
    server, _ = finishing("--graceful-timeout", "300")
    server.get(works(f"{kind},long,600", "processes,pool,600"))
    server.signal(signal.SIGTERM)
    server.wait_for_log("exit waits for")
    server.signal(signal.SIGKILL)
    server.wait()
    # Unwatched, it would live for ten minutes.
    eventually(lambda: not processes_of_session(server.pid), within=5, what="nothing is left")


@PRELOAD
def test_a_worker_that_exits_slowly_holds_up_nothing(finishing, preload):
    server, _ = finishing("--graceful-timeout", "300", "--timeout", "1", *preload)
    first = int(server.get(works("endless,endless,0")).body)
    for _ in range(2):
        known = len(server.errors)
        server.signal(signal.SIGHUP)
        server.wait_for_log("reload: done", since=known)
        assert int(server.get("/").body) != first
    server.wait_for_log(rf"{first}\): exit waits for the thread 'endless'")
    known = len(server.errors)
    # Longer than `timeout`: it says that it lives.
    time.sleep(1.5)
    assert is_alive(first) and "sign of life" not in server.errors
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    expect_no_process(server)


def test_a_worker_that_exits_slowly_by_itself_is_replaced_at_once(finishing):
    server, _ = finishing("--graceful-timeout", "300")
    first = int(server.get(works("endless,endless,0")).body)
    os.kill(first, signal.SIGTERM)
    server.wait_for_log(
        rf"{first}\) exits, although no stop was requested; a replacement starts now"
    )
    assert int(server.get("/").body) != first and is_alive(first)
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    expect_no_process(server)


def test_a_quick_stop_shortens_an_exit_in_progress(finishing):
    server, _ = finishing("--graceful-timeout", "300")
    server.get(works("endless,endless,0"))
    server.signal(signal.SIGTERM)
    server.wait_for_log("exit waits for")
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert "(a quick exit): forced exit while waiting for the thread 'endless'" in server.errors


@pytest.mark.parametrize("imports, code", [("endless", 0), ("endless,fail", 3)])
def test_check_config_ends_with_any_threads_that_the_import_started(tmp_path, imports, code):
    environment = {"NOTES": str(tmp_path / "notes"), "IMPORT": imports}
    done = run("--check-config", "finishing:app", environment=environment)
    assert done.returncode == code
    assert "the thread 'endless' at" in done.stderr
    assert ("this import fails" in done.stderr) == (code == 3)


def test_check_config_leaves_no_process(tmp_path):
    notes = tmp_path / "notes"
    notes.touch()
    environment = {"NOTES": str(notes), "IMPORT": "processes,daemon,exit"}
    done = run("--check-config", "finishing:app", environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert [
        name for name in ("processes", "exit") if f"{name} ended" not in notes.read_text()
    ] == []


@PRELOAD
def test_a_failed_start_ends_with_any_threads_that_the_import_started(finishing, preload):
    server, _ = finishing(*preload, environment={"IMPORT": "endless,fail"}, wait=False)
    assert server.wait() == 3
    expect_no_process(server)


def test_processes_of_the_fork_server_live_as_long_as_its_workers(finishing):
    server, notes = finishing("--preload", environment={"IMPORT": "daemon"}, workers=2)
    eventually(lambda: "daemon begins" in notes.read_text(), what="the fork server's process")
    first = server.workers()
    with server.connect() as wire:
        wire.send(request("GET", works("thread,long,1")))
        worker = int(wire.response().body)
        server.signal(signal.SIGHUP)
        server.wait_for_log("reload: done")
        # The old workers accept what the kernel has queued for them.
        eventually(
            lambda: int(server.get(works()).body) not in first, what="only new workers accept"
        )
        before = int(server.get(works("thread,longer,2")).body)
        assert before not in first and is_alive(worker)
    eventually(lambda: not any(map(is_alive, first)), what="the old workers have exited")
    server.wait_for_log(r"the fork server \(pid \d+\): child processes killed with it")
    assert server.stop() == 0
    assert "[ERROR]" not in server.errors and "AssertionError" not in server.errors
    expect_no_process(server)


def test_an_idle_kept_connection_does_not_delay_a_stop(start):
    took = []
    for _ in range(3):
        server = start("hello:app")
        with server.connect() as wire:
            wire.send(request("GET", "/"))
            wire.response()
            began = time.monotonic()
            assert server.stop() == 0
            took.append(time.monotonic() - began)
    # A grace of a second would make each of them longer.
    assert min(took) < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_no_job_is_lost_and_no_process_is_left(tmp_path, way):
    Drill(tmp_path).rounds(way, 10)


def expect_no_process(server):
    eventually(lambda: not processes_of_session(server.pid), what="no process is left")
