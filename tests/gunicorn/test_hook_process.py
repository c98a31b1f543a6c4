"""The hooks of gunicorn's master: their order beside gunicorn's own; that they take nothing down.

The tables hold for both servers, which run the same configuration and get the same signals.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from harness import descriptors, eventually, free_port, resident_kibibytes
from harness.process import children, clean_environment, is_alive, processes_of_session

APP = """
import os, time

with open("loaded", "a") as file:
    file.write(f"{os.getpid()} {time.time()}\\n")

def app(environ, start_response):
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

RECORDER = """
import json, os, time
workers = 1

def record(hook, server, worker=None, *numbers):
    facts = {
        "hook": " ".join([hook, *map(str, numbers)]),
        "pid": os.getpid(),
        "parent": os.getppid(),
        # gunicorn sets it after the first nworkers_changed.
        "server": getattr(server, "pid", None),
        "address": server.address,
        "cfg": server.cfg.workers,
        "num_workers": server.num_workers,
        "WORKERS": sorted(server.WORKERS),
        "worker": worker and worker.pid,
        "age": worker and worker.age,
        "mark": getattr(worker, "mark", None),
        "time": time.time(),
    }
    with open("hooks", "a") as file:
        file.write(json.dumps(facts) + "\\n")

def on_starting(server):
    record("on_starting", server)

def when_ready(server):
    record("when_ready", server)
    server.log.info("logged by %s", "when_ready")

def on_reload(server):
    record("on_reload", server)

def nworkers_changed(server, new_value, old_value):
    record("nworkers_changed", server, None, new_value, old_value)

def pre_fork(server, worker):
    worker.mark = "set by pre_fork"
    record("pre_fork", server, worker)

def child_exit(server, worker):
    record("child_exit", server, worker)

def pre_exec(server):
    record("pre_exec", server)

def on_exit(server):
    record("on_exit", server)
"""

#: What is done to the server, and which hooks follow, in this order.
ORDER = [
    ("start", ["nworkers_changed 1 None", "on_starting", "when_ready", "pre_fork"]),
    ("TTIN", ["nworkers_changed 2 1", "pre_fork"]),
    ("TTOU", ["nworkers_changed 1 2", "child_exit"]),
    ("HUP", ["nworkers_changed 1 1", "on_reload", "pre_fork", "child_exit"]),
    ("kill a worker", ["child_exit", "pre_fork"]),
    ("TERM", ["child_exit", "on_exit"]),
]

#: See test_hooks.py.
GUNICORN = Path(sys.prefix) / "gunicorn"

COMMANDS = {
    "lockgate": [sys.executable, "-m", "lockgate"],
    "gunicorn": [sys.executable, "-m", "gunicorn", "--no-control-socket"],
}


class Site:
    """A directory with an application and a configuration, and a server that runs there."""

    def __init__(self, directory):
        self.directory = directory
        self.port = free_port()
        self.process = None
        (directory / "site_app.py").write_text(APP)

    def write(self, text):
        draft = self.directory / "gunicorn.conf.py.new"
        draft.write_text(textwrap.dedent(text))
        draft.rename(self.directory / "gunicorn.conf.py")

    def start(self, *arguments, server="lockgate"):
        address = f"127.0.0.1:{self.port}"
        if server == "gunicorn" and not GUNICORN.exists():
            pytest.skip(f"gunicorn is not installed in {GUNICORN} (make test)")
        environment = {"PYTHONPATH": str(GUNICORN)} if server == "gunicorn" else {}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMANDS[server], "site_app:app", "-b", address, "-w", "1", *arguments],
                cwd=self.directory,
                env=clean_environment(environment),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.process

    @property
    def log_path(self):
        return self.directory / "log"

    @property
    def log(self):
        return self.log_path.read_text("utf-8", "replace")

    def logged(self, text, within=20):
        eventually(lambda: text in self.log, within=within, what=f"{text!r} in\n{self.log}")

    def records(self, name="hooks"):
        path = self.directory / name
        if not path.exists():
            return []
        # The last line may be half written.
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]]

    def hooks(self):
        return [record["hook"] for record in self.records()]

    def loaded(self):
        """Processes that have loaded the application, with the time."""
        path = self.directory / "loaded"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), float(at)) for pid, at in (line.split() for line in lines)]

    def wait_for(self, count, what):
        def are_there():
            assert self.process.poll() is None or what == "TERM", self.log
            return len(self.records()) >= count

        eventually(are_there, within=30, what=f"{count} hooks after {what}, {self.hooks()}")

    def get(self):
        """The pid of a worker that answers."""
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
            return int(answer.read())

    def serves(self):
        def answers():
            try:
                return self.get()
            except OSError:
                assert self.process.poll() is None, self.log
                return None

        return eventually(answers, within=20, what="it serves")

    def stop(self, code=0):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == code, self.log

    def end(self):
        if self.process is None:
            return
        for pid in [self.process.pid, *processes_of_session(self.process.pid)]:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.end()


@pytest.mark.parametrize("server", COMMANDS)
def test_hooks_run_in_the_order_of_gunicorn(site, server):
    site.write(RECORDER)
    expected = []
    for step, hooks in ORDER:
        if step == "start":
            site.start(server=server)
        elif step == "kill a worker":
            os.kill(site.serves(), signal.SIGKILL)
        else:
            site.serves()
            site.process.send_signal(getattr(signal, f"SIG{step}"))
        expected += hooks
        site.wait_for(len(expected), step)
        assert site.hooks() == expected, step
    assert site.process.wait(20) == 0
    check_objects(site, server)


def check_objects(site, server):
    records = site.records()
    supervisor = site.process.pid
    assert {record["server"] for record in records[1:]} == {supervisor}
    [pid] = {record["pid"] for record in records}
    # gunicorn runs them in its master.
    assert (pid == supervisor) is (server == "gunicorn")
    if server == "lockgate":
        assert {record["parent"] for record in records} == {supervisor}
    assert {str(record["address"]) for record in records} == {f"[['127.0.0.1', {site.port}]]"}
    for record in records:
        if record["hook"] == "pre_fork":
            assert record["worker"] == "[booting]"
            assert record["mark"] == "set by pre_fork"
        if record["hook"] == "child_exit":
            assert isinstance(record["worker"], int)
            assert record["worker"] not in record["WORKERS"]
            assert record["mark"] == "set by pre_fork", "the object of pre_fork"
    ages = [record["age"] for record in records if record["hook"] == "pre_fork"]
    assert ages == [1, 2, 3, 4]
    site.logged("logged by when_ready")


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["import", "preload"])
def test_a_worker_waits_for_pre_fork(site, preload):
    slow = "    time.sleep(0.7)\n    record('pre_fork', server, worker)"
    text = RECORDER.replace('    record("pre_fork", server, worker)', slow)
    site.write(text)
    site.start(*preload)
    site.serves()
    [fork] = [record for record in site.records() if record["hook"] == "pre_fork"]
    if not preload:
        [(_, loaded)] = site.loaded()
        assert loaded >= fork["time"]
    site.stop()


REFUSALS = [("raise ValueError('no licence')", 1, "ValueError: no licence"), ("sys.exit(5)", 5, "")]


@pytest.mark.parametrize("server", COMMANDS)
@pytest.mark.parametrize("text, code, shown", REFUSALS)
def test_on_starting_may_refuse_the_start(site, server, text, code, shown):
    site.write(f"import sys\ndef on_starting(server):\n    {text}\n")
    site.start(server=server)
    assert site.process.wait(20) == code, site.log
    assert shown in site.log
    assert site.log.count("Traceback") == (1 if shown else 0) or server == "lockgate"
    assert site.loaded() == []


@pytest.mark.parametrize(
    "text, shown",
    [
        ("os._exit(0)", "exited with code 0 before on_starting had returned"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL before on_starting had returned"),
    ],
)
def test_a_process_that_ends_in_on_starting_stops_the_start(site, text, shown):
    site.write(f"import os\ndef on_starting(server):\n    {text}\n")
    site.start()
    assert site.process.wait(20) == 1
    assert shown in site.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_for_on_starting(site, number):
    site.write("import time\ndef on_starting(server):\n    open('here', 'w')\n    time.sleep(60)\n")
    site.start()
    eventually(lambda: (site.directory / "here").exists(), what="the hook runs")
    hook_process = children(site.process.pid)
    site.process.send_signal(number)
    assert site.process.wait(5) == 0
    assert not any(map(is_alive, hook_process))


@pytest.mark.parametrize(
    "hook", ["when_ready", "pre_fork", "child_exit", "on_reload", "nworkers_changed", "on_exit"]
)
@pytest.mark.parametrize("how", ["1 / 0", "import sys; sys.exit(3)"], ids=["raises", "sys.exit"])
def test_a_hook_that_fails_is_logged_and_the_server_goes_on(site, hook, how):
    site.write(f"def {hook}(server, *arguments):\n    {how}\n")
    site.start()
    worker = site.serves()
    site.process.send_signal(signal.SIGHUP)
    eventually(lambda: site.serves() != worker, what="a new worker")
    if hook != "on_exit":
        site.logged(f"the hook {hook} has failed")
    site.stop()
    site.logged(f"the hook {hook} has failed")
    assert "ZeroDivisionError" in site.log or "SystemExit: 3" in site.log
    assert "lockgate/gunicorn" not in site.log


def test_a_hook_process_that_dies_is_replaced_and_begins_again(site):
    site.write(RECORDER + "\n\ndef child_exit(server, worker):\n    os._exit(9)\n")
    site.start()
    worker = site.serves()
    # The new process executes what was evaluated, not the file as it is now.
    site.write("1 / 0")
    before = site.hooks()
    os.kill(worker, signal.SIGKILL)
    site.wait_for(len(before) + 4, "the death")
    site.logged("exited with code 9")
    assert site.serves() != worker
    # What the first process had started has gone with it.
    again = site.hooks()[len(before) :]
    assert sorted(again) == sorted(
        ["nworkers_changed 1 None", "on_starting", "when_ready", "pre_fork"]
    )
    assert len({record["pid"] for record in site.records()}) == 2
    assert site.log.count("exited with code 9") == 1


def test_a_hook_that_hangs_delays_neither_service_nor_reloads(site):
    site.write("import time\ndef child_exit(server, worker):\n    time.sleep(60)\n")
    site.start()
    workers = [site.serves()]
    for _ in range(3):
        os.kill(workers[-1], signal.SIGKILL)
        eventually(lambda: replaced(site, workers), what="another worker")
        site.process.send_signal(signal.SIGHUP)
        eventually(lambda: replaced(site, workers), what="a new generation")
    site.process.send_signal(signal.SIGTERM)
    # The server has seen the exits of its workers, and waits for the hook process alone.
    site.logged("Shutting down: Master")
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(4) == 0
    site.logged("killing the hook process: another request to stop")


def replaced(site, workers):
    """Whether a worker answers that has not answered before."""
    try:
        worker = site.get()
    except OSError:
        return False
    if worker in workers:
        return False
    workers.append(worker)
    return True


def test_on_exit_is_killed_after_five_seconds(site):
    site.write("import time\ndef on_exit(server):\n    time.sleep(60)\n")
    site.start("--graceful-timeout", "1")
    site.serves()
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(10) == 0
    site.logged("killing the hook process: on_exit has not returned in time")


SERVER_IN_A_HOOK = """
import http.server, os, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.getpid()} {self.server.count}".encode()
        self.server.count += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

def when_ready(server):
    metrics = http.server.ThreadingHTTPServer(("127.0.0.1", %d), Handler)
    metrics.count = 0
    threading.Thread(target=metrics.serve_forever, daemon=True).start()

def child_exit(server, worker):
    with open("exits", "a") as file:
        file.write(f"{worker.pid}\\n")

def pre_fork(server, worker):
    pass
"""


@pytest.mark.timeout(300)
def test_a_server_that_a_hook_has_started_lives_over_reloads_without_leaks(site):
    """As an exporter of Prometheus: its process, its memory and its descriptors stay."""
    import urllib.request

    port = free_port()
    site.write(SERVER_IN_A_HOOK % port)
    site.start()
    workers = [site.serves()]

    def metrics():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            return [int(word) for word in answer.read().split()]

    hook_process, count = eventually(metrics, what="the exporter")
    sizes = []
    for _ in range(21):
        site.process.send_signal(signal.SIGHUP)
        eventually(lambda: replaced(site, workers), within=30, what="a new generation")
        eventually(
            lambda: (
                len((site.directory / "exits").read_text().split()) == len(workers) - 1
                if (site.directory / "exits").exists()
                else False
            ),
            within=30,
            what="child_exit of the old worker",
        )
        pid, count = metrics()
        assert pid == hook_process
        processes = (site.process.pid, hook_process)
        sizes.append([(descriptors(pid), resident_kibibytes(pid)) for pid in processes])
    assert count == 21
    for early, late in zip(sizes[3], sizes[-1], strict=True):
        # The connection that asked for the metrics may still be open.
        assert late[0] <= early[0] + 1, sizes
        assert late[1] <= early[1] + 2048, sizes
    exits = [int(pid) for pid in (site.directory / "exits").read_text().split()]
    assert exits == workers[:-1]
    site.stop()


def test_an_upgrade_runs_pre_exec_and_begins_again(site):
    site.write(RECORDER)
    site.start()
    site.serves()
    site.wait_for(4, "the start")
    site.process.send_signal(signal.SIGUSR2)
    expected = ["pre_exec", "nworkers_changed 1 None", "on_starting", "when_ready", "pre_fork"]
    expected.append("child_exit")
    site.wait_for(4 + len(expected), "the upgrade")
    assert site.hooks()[4:] == expected
    assert {record["server"] for record in site.records()} == {site.process.pid}
    site.stop()
    assert site.hooks()[4 + len(expected) :] == ["child_exit", "on_exit"]


def test_a_reload_that_fails_leaves_the_hooks_of_before(site):
    site.write(RECORDER)
    site.start()
    site.serves()
    site.wait_for(4, "the start")
    application = site.directory / "site_app.py"
    application.write_text("1 / 0")
    site.write(RECORDER.replace('record("pre_fork"', 'record("new_pre_fork"'))
    site.process.send_signal(signal.SIGHUP)
    site.logged("reload failed")
    site.wait_for(8, "the reload")
    # The new worker exits when the reload has failed already.
    assert site.hooks()[4:] == ["nworkers_changed 1 1", "on_reload", "new_pre_fork", "child_exit"]
    application.write_text(APP)
    os.kill(site.get(), signal.SIGKILL)
    site.wait_for(10, "the death")
    assert site.hooks()[8:] == ["child_exit", "pre_fork"]


def test_a_reload_may_bring_the_first_hooks(site):
    site.write("workers = 1")
    site.start()
    worker = site.serves()
    assert children(site.process.pid) == [worker]
    site.write(RECORDER)
    site.process.send_signal(signal.SIGHUP)
    site.wait_for(4, "the reload")
    assert site.hooks() == ["nworkers_changed 1 1", "on_reload", "pre_fork", "child_exit"]
    assert site.records()[-1]["worker"] == worker


def test_the_hook_process_dies_with_the_supervisor(site):
    site.write("import time\ndef when_ready(server):\n    time.sleep(60)\n")
    site.start()
    site.serves()
    others = children(site.process.pid)
    site.process.kill()
    site.process.wait()
    eventually(lambda: not any(map(is_alive, others)), what="all processes have exited")


def test_variables_and_directory_are_those_of_the_settings(site):
    elsewhere = site.directory / "elsewhere"
    elsewhere.mkdir()
    text = """
    import os
    chdir = "elsewhere"
    raw_env = ["COLOUR={colour}"]
    pythonpath = ".."

    def note(server):
        with open("{file}", "a") as file:
            file.write(os.getcwd() + " " + os.environ.get("COLOUR", "none") + "\\n")

    when_ready = on_reload = note
    """
    file = site.directory / "facts"
    site.write(text.format(colour="red", file=file))
    site.start()
    worker = site.serves()
    site.write(text.format(colour="blue", file=file))
    site.process.send_signal(signal.SIGHUP)
    eventually(lambda: site.serves() != worker, what="a new worker")
    eventually(lambda: len(file.read_text().split()) == 4, what="both hooks")
    assert file.read_text().split() == [str(elsewhere), "red", str(elsewhere), "blue"]
    assert Path(f"/proc/{site.process.pid}/cwd").readlink() == elsewhere
