"""Handlers of signals that applications, agents and starters bring: no request is cut by them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import eventually, request
from harness.admin import Admin
from harness.process import APPS, TESTS, children, clean_environment, is_alive, open_files
from harness.requirements import require_module

STARTER = [sys.executable, str(TESTS / "harness" / "starter.py")]
SHOW_STATUS = 'while read line; do echo "$line" >&2; done </proc/$$/status; exec "$@"'
FILES = ["test_children.py", "test_ctl.py", "test_signals.py"]
WAYS = ["chain", "restore", "ignore", "coverage", "ddtrace.auto", "ddtrace-run"]
PRELOAD = pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])


@pytest.fixture
def site(start, tmp_path):
    """Starts a server whose application handles signals in this way."""

    def site(way, *arguments, environment=None, **options):
        prefix = options.pop("prefix", [])
        if way != "none" and way not in ("chain", "restore", "ignore"):
            require_module(way.partition(".")[0].partition("-")[0])
        if way == "ddtrace-run":
            prefix = [str(Path(sys.executable).with_name("ddtrace-run"))]
        variables = {
            "HANDLERS": way,
            "NOTE": str(tmp_path / "note"),
            "DD_PROFILING_ENABLED": "true",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            **(environment or {}),
        }
        return start(
            "handlers:app", *arguments, environment=variables, prefix=prefix, chdir=APPS, **options
        )

    return site


class Held:
    """A request in progress in a worker, until it is released."""

    def __init__(self, server, directory, name="gate"):
        self.gate = directory / name
        self.wire = server.connect(timeout=40)
        self.wire.send(request("GET", f"/hold?{self.gate}"))
        started = self.gate.with_name(name + ".started")
        eventually(started.exists, what="the request is being served")
        self.worker = int(started.read_text())

    def finish(self, *, closes=True):
        """The body of the answer. `closes`: the worker stops, and closes the connection too."""
        self.gate.touch()
        response = self.wire.response()
        assert response.status == 200
        if closes:
            assert response.wants_close()
            self.wire.expect_close()
        self.wire.close()
        return response.body


def assert_all_have_left(server):
    """Each worker in its own time: not by a signal, and not without being asked."""
    errors = server.errors
    assert re.search(r"worker 0 \(pid \d+\) stopped after", errors), errors
    assert not re.search(r"was killed|no stop was requested|exited with|\[ERROR\]", errors), errors


@PRELOAD
@pytest.mark.parametrize("way", WAYS)
def test_term_finishes_a_request_with_any_handlers_of_the_application(site, tmp_path, way, preload):
    server = site(way, *preload)
    held = Held(server, tmp_path)
    server.signal(signal.SIGTERM)
    eventually(lambda: not server.accepts(), what="the listener is closed")
    assert held.finish() == str(held.worker).encode()
    assert server.wait() == 0
    assert_all_have_left(server)


@PRELOAD
@pytest.mark.parametrize("way", ["chain", "coverage", "ddtrace.auto", "ddtrace-run"])
def test_term_to_all_processes_finishes_a_request_of_an_application_that_chains(
    site, tmp_path, way, preload
):
    server = site(way, *preload)
    held = Held(server, tmp_path)
    # As systemd does with KillMode=control-group.
    os.killpg(server.pid, signal.SIGTERM)
    eventually(lambda: not server.accepts(), what="the listener is closed")
    assert held.finish() == str(held.worker).encode()
    assert server.wait() == 0
    assert_all_have_left(server)


@PRELOAD
@pytest.mark.parametrize("way", WAYS)
def test_a_reload_finishes_a_request_with_any_handlers_of_the_application(
    site, tmp_path, way, preload
):
    server = site(way, *preload)
    held = Held(server, tmp_path)
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done", within=30)
    # The old worker has been asked to retire, and may not have read the order yet.
    assert held.finish(closes=False) == str(held.worker).encode()
    eventually(lambda: not is_alive(held.worker), what="the old worker has left")
    assert server.stop() == 0


@PRELOAD
@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_is_recycled_finishes_its_request(site, tmp_path, way, preload):
    server = site(way, "--max-requests", "2", *preload)
    assert server.get("/").status == 200
    held = Held(server, tmp_path)
    server.wait_for_log(rf"worker \d+ \(pid (?!{held.worker}\b)\d+\) ready", within=30)
    # The request is answered by the old worker, which leaves then: it has been asked to retire.
    held.gate.touch()
    assert held.wire.response().body == str(held.worker).encode()
    held.wire.close()
    eventually(lambda: not is_alive(held.worker), within=20, what="the old worker has left")
    assert server.stop() == 0


@PRELOAD
def test_the_application_finds_callable_handlers(site, preload):
    server = site("none", *preload)
    names = server.get("/found").body.decode().split()
    assert names == ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH"]


@PRELOAD
def test_a_handler_that_chains_reaches_the_default_action(site, tmp_path, preload):
    server = site("chain", *preload)
    held = Held(server, tmp_path)
    os.kill(held.worker, signal.SIGTERM)
    eventually((tmp_path / "note").exists, what="the application's handler has run")
    # It writes the note before it chains to the worker's handler.
    assert held.finish(closes=False) == str(held.worker).encode()
    eventually(lambda: not is_alive(held.worker), what="the worker has drained")
    assert (tmp_path / "note").read_text() == f"{held.worker} handler {signal.SIGTERM:d}\n"
    other = Held(server, tmp_path, "other")
    os.kill(other.worker, signal.SIGINT)
    assert other.wire.rest() == b""
    eventually(lambda: not is_alive(other.worker), what="the worker has stopped")
    assert server.stop() == 0


@pytest.mark.parametrize("way", ["none", "chain", "ddtrace.auto"])
def test_a_signal_that_another_thread_takes_wakes_the_main_thread(site, tmp_path, way):
    # So is one that arrives between the main thread's last look and its wait: that is not
    # interrupted either.
    server = site(way)
    worker = int(server.get("/raise?SIGTERM").body)
    eventually(lambda: not is_alive(worker), what="the worker has drained")
    server.wait_for_log(rf"worker 0 \(pid {worker}\) exited with code 0")
    if way == "chain":
        assert (tmp_path / "note").read_text() == f"{worker} handler {signal.SIGTERM:d}\n"


def test_coverage_with_sigterm_has_its_data(site, tmp_path):
    require_module("coverage")
    import coverage

    for number, all_processes in enumerate([False, True]):
        server = site("coverage", workers=2)
        held = Held(server, tmp_path, f"gate{number}")
        if all_processes:
            os.killpg(server.pid, signal.SIGTERM)
        else:
            server.signal(signal.SIGTERM)
        eventually(lambda: not server.accepts(), what="the listener is closed")  # noqa: B023
        held.finish()
        assert server.wait() == 0
        files = list(tmp_path.glob("note.*"))
        assert len(files) == 2, "one for each worker"
        lines = set()
        for file in files:
            data = coverage.CoverageData(str(file))
            data.read()
            lines.update(data.lines(str(APPS / "gates.py")) or ())
            file.unlink()
        source = (APPS / "gates.py").read_text().splitlines()
        held_line = 1 + next(at for at, line in enumerate(source) if "with_suffix" in line)
        assert held_line in lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
@pytest.mark.parametrize("how", ["sleeps", "computes"])
def test_a_stop_ends_an_import_that_no_handler_of_its_can_end(start, tmp_path, how, number):
    (tmp_path / "sure.py").write_text(
        "import signal\n"
        "for name in ('SIGTERM', 'SIGINT', 'SIGQUIT'):\n"
        "    signal.signal(getattr(signal, name), lambda *_: None)\n"
        "import importing\n"
    )
    note = tmp_path / "note"
    environment = {"IMPORT": f"{how}:{note}"}
    arguments = ["--pythonpath", str(APPS), "--graceful-timeout", "60s"]
    options = {"chdir": tmp_path, "environment": environment, "wait": False, "workers": 2}
    server = start("sure:app", *arguments, **options)
    eventually(lambda: note.exists() and len(note.read_text().split()) == 2, what="two imports")
    workers = server.workers()
    server.signal(number)
    assert server.wait(within=10) == 0
    assert not any(map(is_alive, workers))
    assert "killed" not in server.errors


SITE = """
import atexit, os, signal, sys, threading, time
if "lockgate" in sys.orig_argv and "app" in str(sys.orig_argv):
    {code}
"""

HANDLERS = {
    "exits": "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))",
    "raises": "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))",
    "restores": "signal.signal(signal.SIGTERM, lambda number, _: (signal.signal(number, "
    "signal.SIG_DFL), os.kill(os.getpid(), number)))",
    "children": "signal.signal(signal.SIGCHLD, lambda *_: os._exit(7))",
    "pipes": "signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
}


@PRELOAD
@pytest.mark.parametrize("name", HANDLERS)
def test_handlers_of_the_starter_do_not_run_in_the_supervisor(site, tmp_path, name, preload):
    (tmp_path / "sitecustomize.py").write_text(SITE.format(code=HANDLERS[name]))
    server = site("none", *preload, environment={"PYTHONPATH": str(tmp_path)})
    held = Held(server, tmp_path)
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done")
    server.signal(signal.SIGTERM)
    eventually(lambda: not server.accepts(), what="the listener is closed")
    held.finish()
    assert server.wait() == 0


def test_handlers_of_a_program_that_calls_main_do_not_run_in_the_supervisor(site, tmp_path):
    wrapper = tmp_path / "wrapper.py"
    wrapper.write_text(
        "import signal, sys\n"
        "from lockgate.__main__ import main\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "sys.argv = ['lockgate', *sys.argv[4:]]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print('the wrapper goes on', flush=True)\n"
    )
    server = site("chain", prefix=[sys.executable, str(wrapper)])
    held = Held(server, tmp_path)
    server.signal(signal.SIGTERM)
    eventually(lambda: not server.accepts(), what="the listener is closed")
    held.finish()
    assert server.wait() == 0
    assert server.output == "the wrapper goes on\n"


def test_signals_that_the_starter_has_blocked_or_ignored_work(site, tmp_path):
    options = ["block=TERM,HUP,CHLD,USR1,ALRM", "ignore=HUP,INT,QUIT,TERM,CHLD"]
    server = site("none", prefix=[*STARTER, *options, "--"], workers=1)
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done")
    (worker,) = eventually(
        lambda: len(server.workers()) == 1 and server.workers(), what="the old worker has left"
    )
    blocked = masks(worker)["SigBlk"]
    assert blocked == 0, f"{blocked:x}"
    held = Held(server, tmp_path)
    server.signal(signal.SIGTERM)
    eventually(lambda: not server.accepts(), what="the listener is closed")
    held.finish()
    assert server.wait() == 0


def test_under_nohup_hup_reloads(site):
    server = site("none", prefix=["nohup"])
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done")
    assert server.stop() == 0


@pytest.mark.parametrize(
    "code",
    [
        "pid = os.getpid(); atexit.register(lambda: os.getpid() == pid and time.sleep(600))",
        "threading.Thread(target=time.sleep, args=(600,)).start()",
    ],
    ids=["atexit", "thread"],
)
def test_a_stopped_supervisor_exits_whatever_sitecustomize_has_started(site, tmp_path, code):
    (tmp_path / "sitecustomize.py").write_text(SITE.format(code=code))
    server = site("none", environment={"PYTHONPATH": str(tmp_path)})
    server.signal(signal.SIGTERM)
    assert server.wait(within=30) == 0
    assert f"the supervisor (pid {server.pid}): not finished within 2.00 s" in server.errors


def test_a_suspended_worker_receives_its_order_when_it_continues(site, tmp_path):
    server = site("none", "--graceful-timeout", "60s", workers=1)
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    server.signal(signal.SIGTERM)
    server.wait_for_log("stopping: workers finish")
    os.kill(worker, signal.SIGCONT)
    assert server.wait() == 0
    assert "killed" not in server.errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
@PRELOAD
def test_a_signal_to_all_processes_is_not_logged_as_a_failure_of_the_admin_process(
    start, tmp_path, number, preload
):
    admin = Admin(start, tmp_path, "hello:app", *preload, workers=2)
    server = admin.server
    others = set(children(server.pid)) - set(admin.workers())
    assert len(others) == (2 if preload else 1), "the admin process, and the fork server"
    for pid in others:
        os.kill(pid, number)
    # Both have had their signal by now: it was there before the question was.
    assert admin.ask("/healthz").status == 200
    assert all(map(is_alive, others))
    os.killpg(server.pid, number)
    assert server.wait() == 0
    stop = server.errors.partition("are ready")[2]
    assert "[WARNING]" not in stop and "admin" not in stop, stop
    assert not any(map(is_alive, others))


def test_usr1_has_every_process_open_the_log_file_again(start, tmp_path):
    log = tmp_path / "error.log"
    admin = Admin(start, tmp_path, "hello:app", "--error-logfile", str(log), workers=2, wait=False)
    eventually(lambda: log.exists() and "are ready" in log.read_text(), what="the server is ready")
    processes = [admin.server.pid, *children(admin.server.pid)]
    assert len(processes) == 4
    log.rename(tmp_path / "error.log.1")
    admin.server.signal(signal.SIGUSR1)

    def holders():
        return [pid for pid in processes if str(tmp_path / "error.log.1") in open_files(pid)]

    eventually(lambda: not holders(), what="no process writes to the old file")
    assert admin.server.stop() == 0


def test_top_ends_at_ctrl_c_also_where_sigint_was_ignored_at_its_start(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app", workers=1)
    command = [*STARTER, "ignore=INT,QUIT", "--", sys.executable, "-m", "lockgate", "top"]
    command += ["--interval", "0.1", "--admin", admin.address]
    with subprocess.Popen(
        command, env=clean_environment(), stdout=subprocess.PIPE, cwd=APPS
    ) as process:
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_the_tests_themselves_pass_where_signals_are_ignored_and_blocked():
    chosen = "SIGQUIT or SIGINT or refreshes_until or harness_gives"
    command = [*STARTER, "ignore=HUP,INT,QUIT", "block=TERM,USR1", "--", sys.executable, "-m"]
    command += ["pytest", "-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "-k", chosen]
    command += ["--rootdir", str(TESTS.parent)]
    command += [str(TESTS / "lifecycle" / name) for name in FILES]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "LOCKGATE_"))
    }
    said = subprocess.run(
        command, env=environment, cwd=TESTS.parent, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert re.search(r"^9 passed", said.stdout, re.MULTILINE), said.stdout


def test_the_harness_gives_what_it_starts_no_ignored_and_no_blocked_signal(start):
    server = start("hello:app", prefix=["sh", "-c", SHOW_STATUS, "sh"])
    masks = dict(re.findall(r"^(Sig(?:Ign|Blk)):\s+(\w+)$", server.errors, re.MULTILINE))
    assert len(masks) == 2 and not int(masks["SigBlk"], 16), masks
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1):
        assert not int(masks["SigIgn"], 16) >> (number - 1) & 1, (number, masks)


def masks(pid):
    """The signal masks of a process by their names in /proc/PID/status."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split(":") for line in status if line.startswith(("Sig", "Shd")))
    return {
        name: int(value.strip().partition("/")[0], 16) for name, value in pairs if name != "SigQ"
    }
