"""Real libraries that leave work behind at the exit of a worker."""

import signal

import pytest
from harness import eventually
from harness.process import is_alive, processes_of_session
from harness.requirements import require_module


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize("way", ["TERM", "HUP"])
def test_jobs_of_flask_executor_are_done(start, tmp_path, way, kind, preload):
    require_module("flask_executor")
    notes = tmp_path / "notes"
    environment = {"NOTES": str(notes), "EXECUTOR": kind}
    server = start("executor_app:app", *preload, environment=environment)
    worker = int(server.get("/4").body)
    server.signal(getattr(signal, f"SIG{way}"))
    eventually(lambda: not is_alive(worker), what="the worker has exited")
    assert notes.read_text().split() == ["0", "1", "2", "3"]
    assert server.stop() == 0
    assert "Traceback" not in server.errors
    eventually(lambda: not processes_of_session(server.pid), what="no process is left")


def test_a_job_of_apscheduler_is_done(start, tmp_path):
    require_module("apscheduler")
    notes = tmp_path / "notes"
    server = start("scheduler_app:app", environment={"NOTES": str(notes)})
    server.get("/")
    eventually(lambda: notes.exists(), what="the job has begun")
    assert server.stop() == 0
    assert notes.read_text().split() == ["begins", "ended"]
    assert "Traceback" not in server.errors


@pytest.mark.parametrize("way", ["TERM", "HUP", "INT"])
def test_a_scheduler_that_the_fork_server_has_started_holds_up_no_exit(start, tmp_path, way):
    require_module("apscheduler")
    environment = {"NOTES": str(tmp_path / "notes")}
    server = start("scheduler_app:app", "--preload", environment=environment)
    assert "the thread 'APScheduler' is not copied to workers" in server.errors
    worker = int(server.get("/").body)
    server.signal(getattr(signal, f"SIG{way}"))
    eventually(lambda: not is_alive(worker), what="the worker has exited")
    assert server.stop() == 0
    assert "Traceback" not in server.errors and "exit waits" not in server.errors
    eventually(lambda: not processes_of_session(server.pid), what="no process is left")
