"""A worker that dies in the middle of requests: one record says why, and which requests they were.

And the stacks of its threads are where the operator looks for them.
"""

import os
import re
import signal

import pytest
from harness import eventually, request

DYING = """
import ctypes
import os
import time
from pathlib import Path


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/touch-nothing":
        touch_nothing()
    elif path == "/exit":
        os._exit(7)
    elif path == "/hold":
        Path(environ["QUERY_STRING"]).touch()
        time.sleep(30)
    elif path == "/hold-everything":
        # Without giving the interpreter away.
        ctypes.PyDLL(None).sleep(30)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def touch_nothing():
    ctypes.string_at(0)
"""
THREAD = r"of 127\.0\.0\.1, \d+\.\d\d s old, in thread \d+"


@pytest.fixture
def dying(tmp_path, start):
    (tmp_path / "dying.py").write_text(DYING)

    def dying(*arguments, **options):
        return start("dying:app", *arguments, chdir=tmp_path, **options)

    return dying


def ask_for_death(server, target):
    with server.connect() as wire:
        wire.send(request("GET", target))
        assert wire.rest() == b""


def test_a_crash_names_its_cause_and_its_request_and_shows_where_it_was(dying):
    server = dying("--threads", "2")
    (worker,) = server.workers()
    # It is not there any more.
    assert server.get("/over").status == 200
    ask_for_death(server, '/touch-nothing?q="%0a')
    record = server.wait_for_log(
        rf"worker 0 \(pid {worker}\) was killed by SIGSEGV.*; it is replaced .*; "
        rf"1 request was in flight:\n"
        rf"  GET /touch-nothing\?q=\\x22%0a {THREAD}\n"
    )
    assert "/over" not in record
    assert "Segmentation fault" in server.errors
    assert re.search(r'File ".*dying.py", line \d+ in touch_nothing', server.errors)
    eventually(lambda: server.get("/").body == b"ok", what="another worker serves")


def test_an_exit_of_the_application_names_its_request(dying):
    server = dying()
    (worker,) = server.workers()
    ask_for_death(server, "/exit")
    server.wait_for_log(rf"worker 0 \(pid {worker}\) exited with code 7 .*\n  GET /exit {THREAD}\n")


@pytest.mark.parametrize("operators", [False, True])
def test_a_kill_names_every_request_that_it_cut_the_oldest_first(dying, tmp_path, operators):
    options = ["--admin-bind", f"unix:{tmp_path}/admin.sock"] if operators else []
    server = dying("--threads", "4", *options)
    server.get("/")
    wires, targets = [], []
    for name in ("first", "second"):
        began = tmp_path / name
        wires.append(server.connect())
        targets.append(f"/hold?{began}")
        wires[-1].send(request("GET", targets[-1]))
        eventually(began.exists, what="the call has begun")
    worker = int(re.search(r"worker 0 \(pid (\d+)\) ready", server.errors)[1])
    os.kill(worker, signal.SIGKILL)
    lines = "".join(rf"  GET {re.escape(target)[:100]}\S* {THREAD}\n" for target in targets)
    server.wait_for_log(
        rf"pid {worker}\) was killed by SIGKILL .*by an operator.*; "
        rf"2 requests were in flight:\n{lines}"
    )
    for wire in wires:
        assert wire.rest() == b""
        wire.close()


def test_a_worker_that_this_supervisor_ended_names_the_request_that_held_it(dying):
    server = dying("--threads", "1", "--timeout", "1")
    (worker,) = server.workers()
    ask_for_death(server, "/hold-everything")
    server.wait_for_log(
        rf"pid {worker}\) was killed by SIGABRT.*: aborted by the supervisor "
        rf"\(setting: timeout\).*\n  GET /hold-everything {THREAD}\n"
    )


def test_stacks_go_into_the_file_of_the_error_log_and_follow_it(dying, tmp_path):
    log, moved = tmp_path / "error.log", tmp_path / "error.log.1"
    # There is no standard error at all.
    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
    server = dying("--error-logfile", str(log), prefix=closed, wait=False)

    def says(path, pattern):
        eventually(
            lambda: path.exists() and re.search(pattern, path.read_text()),
            what=f"{pattern!r} in {path.name}",
        )

    says(log, "the worker is ready")
    assert "will not log the stacks of its threads" not in log.read_text()
    ask_for_death(server, "/touch-nothing")
    says(log, r"Segmentation fault\n(.*\n)*.*in touch_nothing")
    says(log, r"was killed by SIGSEGV.*\n  GET /touch-nothing ")
    eventually(lambda: server.get("/").body == b"ok", what="another worker serves")
    (worker,) = server.workers()
    log.rename(moved)
    before = moved.stat().st_size
    server.signal(signal.SIGUSR1)
    eventually(lambda: log.exists() and not holds(worker, moved), what="the log is reopened")
    ask_for_death(server, "/touch-nothing")
    says(log, r"Segmentation fault\n(.*\n)*.*in touch_nothing")
    assert "Segmentation fault" not in moved.read_text()[before:]


def holds(pid, path):
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{descriptor}") == str(path):
                return True
        except FileNotFoundError:
            continue
    return False
