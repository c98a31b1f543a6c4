"""Every hook of gunicorn's, beside gunicorn itself: its order, its process and its arguments.

`recording.py` is the configuration of both servers. docs/gunicorn-hooks.md has the table of the
differences, with their reasons.
"""

import json
import os
import re
import signal
import sys
import threading
from pathlib import Path

import pytest
from harness import eventually
from harness.process import Server

HERE = Path(__file__).parent
#: `make` installs gunicorn here, where the server under test does not find it by itself.
GUNICORN = Path(sys.prefix) / "gunicorn"

OF_REQUESTS = ["pre_request", "post_request"]
OF_WORKERS = ["post_fork", "post_worker_init", *OF_REQUESTS]
OF_WORKERS += ["worker_int", "worker_abort", "worker_exit", "close()"]
BOOT = ["post_fork", "post_worker_init"]
PRELOAD = pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["import", "preload"])


class Recorded:
    """A server that runs `recording.py`, and what that has recorded."""

    def __init__(self, directory, kind, *arguments, options=None, workers=1, boots=True):
        self.kind = kind
        self.workers_wanted = workers
        self.path = directory / f"{kind}.jsonl"
        self.path.touch()
        environment = {"RECORD": str(self.path), "OPTIONS": json.dumps(options or {})}
        if kind == "gunicorn":
            environment["PYTHONPATH"] = str(GUNICORN)
        else:
            arguments += ("--log-style", "lockgate")
        self.server = Server(
            directory,
            "hooked:app",
            *("-c", str(HERE / "recording.py"), *arguments),
            workers=workers,
            environment=environment,
            program=(sys.executable, "-m", kind),
            wait=False,
        )
        if boots:
            self.wait_for_workers(workers)

    @property
    def calls(self):
        # The last line may be half written.
        return [json.loads(line) for line in self.path.read_text().split("\n")[:-1]]

    def wait_for(self, hook, count=1):
        """Until the hook was called this many times."""

        def is_there():
            if self.server.process.poll() is not None:
                raise AssertionError(f"{self.kind} has exited:\n{self.server.errors}")
            return sum(call["hook"] == hook for call in self.calls) >= count

        eventually(is_there, within=30, what=f"{hook} of {self.kind}, {count} times")

    def wait_for_workers(self, count):
        """Until this many workers have served: one that is stopped earlier calls no worker_exit."""
        self.wait_for("post_worker_init", count)
        if self.kind == "lockgate":
            eventually(lambda: self.server.errors.count(") ready in ") >= count, what="they serve")

    def get(self, target="/", method="GET"):
        """Sends a request and returns the status."""
        with self.server.connect() as wire:
            head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nUser-Agent: x/1\r\n"
            wire.send(f"{head}Content-Type: text/x\r\nConnection: close\r\n\r\n".encode())
            if self.kind == "gunicorn":
                # From Python 3.14 on \r\n\n ends the heads of its error pages (textwrap.dedent).
                return int(wire.rest().split()[1])
            return wire.head(method).status

    def worker(self, index=0):
        """The process id of a worker, in the order in which they have loaded the application."""
        return [call["pid"] for call in self.calls if call["hook"] == "post_worker_init"][index]

    def in_workers(self):
        """The names of the hooks that were called in each worker."""
        called = {}
        for call in self.calls:
            if call["hook"] in OF_WORKERS:
                called.setdefault(call["pid"], []).append(call["hook"])
        return sorted(called.values())

    def facts(self, hook):
        """The arguments of each call of a hook, with names instead of numbers that differ."""
        return [self.plain(call) for call in self.calls if call["hook"] == hook]

    def plain(self, call):
        pid = call.pop("pid")
        text = json.dumps({key: value for key, value in call.items() if key != "thread"})
        known = {pid: "WORKER", self.server.pid: "MASTER", self.server.port: "PORT"}
        for number, name in known.items():
            text = re.sub(rf'"?\b{number}\b"?', f'"{name}"', text.replace("<Worker ", "<"))
        return text

    def stop(self, number=signal.SIGTERM):
        self.server.signal(number)
        code = self.server.wait()
        self.server.end()
        return code


@pytest.fixture
def both(tmp_path):
    """Runs a scenario with each server; returns what they have recorded, gunicorn first."""
    if not GUNICORN.exists():
        pytest.skip(f"gunicorn is not installed in {GUNICORN} (make test)")
    started = []

    def run(scenario, *arguments, **options):
        for kind in ("gunicorn", "lockgate"):
            recorded = Recorded(tmp_path, kind, *arguments, **options)
            started.append(recorded)
            scenario(recorded)
        return started

    yield run
    for recorded in started:
        recorded.server.end()


def stop(recorded):
    assert recorded.stop() == 0


def one_request(recorded):
    recorded.get("/")
    recorded.wait_for("post_request")
    stop(recorded)


def quick_stop(recorded):
    assert recorded.stop(signal.SIGINT) == 0


def reload(recorded):
    recorded.server.signal(signal.SIGHUP)
    recorded.wait_for_workers(2)
    recorded.wait_for("worker_exit")
    stop(recorded)


def kill(recorded):
    os.kill(recorded.worker(), signal.SIGKILL)
    recorded.wait_for_workers(2)
    stop(recorded)


def more_and_fewer(recorded):
    recorded.server.signal(signal.SIGTTIN)
    recorded.wait_for_workers(2)
    recorded.server.signal(signal.SIGTTOU)
    recorded.wait_for("worker_exit")
    stop(recorded)


def stuck(recorded):
    request = threading.Thread(target=lambda: ignore_errors(lambda: recorded.get("/spin")))
    request.start()
    recorded.wait_for("worker_exit")
    recorded.wait_for_workers(2)
    request.join()
    stop(recorded)


def ignore_errors(call):
    try:
        call()
    except (OSError, AssertionError, ValueError):
        pass


def two_requests(recorded):
    for count in (1, 2):
        recorded.get("/")
        recorded.wait_for("post_request", count)
    recorded.wait_for_workers(2)
    recorded.wait_for("worker_exit")
    stop(recorded)


EXIT = ["worker_exit"]
SCENARIOS = {
    "stop": (stop, [], [BOOT + EXIT]),
    "request": (one_request, [], [BOOT + OF_REQUESTS + EXIT]),
    "quick stop": (quick_stop, [], [BOOT + ["worker_int"] + EXIT]),
    "reload": (reload, [], [BOOT + EXIT] * 2),
    "kill": (kill, [], [BOOT, BOOT + EXIT]),
    "TTIN and TTOU": (more_and_fewer, [], [BOOT + EXIT] * 2),
    "max_requests": (
        two_requests,
        ["--max-requests", "2"],
        [BOOT + OF_REQUESTS * 2 + EXIT, BOOT + EXIT],
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_hooks_of_workers_are_called_in_gunicorns_order(both, name):
    scenario, arguments, expected = SCENARIOS[name]
    for recorded in both(scenario, *arguments):
        assert recorded.in_workers() == expected, recorded.kind


@pytest.mark.slow
def test_a_worker_that_is_blocked_is_aborted_after_its_hook(both):
    """In gunicorn the hook's exception ends the call, so that `post_request` follows. Here the call
    is not ended, and its worker is."""
    gunicorn, lockgate = both(stuck, "--timeout", "1")
    begin = [*BOOT, "pre_request", "worker_abort"]
    assert gunicorn.in_workers() == sorted([[*begin, "post_request", *EXIT], BOOT + EXIT])
    assert lockgate.in_workers() == sorted([begin + EXIT, BOOT + EXIT])


@PRELOAD
def test_the_arguments_are_those_of_gunicorn(both, preload):
    def scenario(recorded):
        recorded.get("/length?a=b&c")
        recorded.wait_for("post_request")
        stop(recorded)

    gunicorn, lockgate = both(scenario, *preload)
    for hook in [*BOOT, *OF_REQUESTS, *EXIT]:
        assert lockgate.facts(hook) == gunicorn.facts(hook), hook


TARGETS = ["/length", "/stream", "/file", "/write", "/none", "/raise", "/late", "/plain"]


def test_responses_are_described_as_gunicorn_does(both):
    def scenario(recorded):
        for count, target in enumerate(TARGETS, start=1):
            recorded.get(target)
            recorded.wait_for("post_request", count)
        recorded.get("/length", "HEAD")
        recorded.wait_for("post_request", len(TARGETS) + 1)
        stop(recorded)

    found = [
        [(call["req"]["path"], call["resp"]) for call in recorded.calls if "resp" in call]
        for recorded in both(scenario)
    ]
    gunicorn, lockgate = found
    for (target, theirs), (_, ours) in zip(gunicorn, lockgate, strict=True):
        if target == "/file":
            # gunicorn does not count what sendfile(2) sends.
            size = (HERE.parent / "apps/hooked.py").stat().st_size
            assert (theirs.pop("sent"), ours.pop("sent")) == (0, size)
        assert ours == theirs, target


def test_post_request_follows_the_close_of_the_body(both):
    def scenario(recorded):
        recorded.get("/stream")
        recorded.wait_for("post_request")
        stop(recorded)

    for recorded in both(scenario):
        expected = [*BOOT, "pre_request", "close()", "post_request", *EXIT]
        assert recorded.in_workers() == [expected], recorded.kind


def test_exceptions_in_hooks_of_requests(both):
    """In pre_request: 500, and post_request with neither environ nor response; else logged."""
    statuses = {}

    def scenario(recorded):
        statuses[recorded.kind] = [
            recorded.get(target) for target in ("/hook-fails", "/post-fails", "/by-hook")
        ]
        recorded.wait_for("post_request", 3)
        stop(recorded)

    gunicorn, lockgate = both(scenario)
    assert statuses == {"gunicorn": [500, 200, 200], "lockgate": [500, 200, 200]}
    assert lockgate.facts("post_request") == gunicorn.facts("post_request")
    for recorded in (gunicorn, lockgate):
        assert "ValueError: pre_request has failed" in recorded.server.errors, recorded.kind
        assert "Exception in post_request hook" in recorded.server.errors, recorded.kind


@pytest.mark.parametrize("hook", ["post_fork", "post_worker_init"])
@PRELOAD
def test_a_hook_that_fails_at_the_boot_ends_the_server_with_3(both, hook, preload):
    codes = {}

    def scenario(recorded):
        codes[recorded.kind] = recorded.server.wait()

    for recorded in both(scenario, *preload, options={"fails": hook}, boots=False):
        assert f"ValueError: {hook} has failed" in recorded.server.errors, recorded.kind
        assert 'recording.py", line' in recorded.server.errors, recorded.kind
        assert "worker_exit" in [call["hook"] for call in recorded.calls], recorded.kind
    assert codes == {"gunicorn": 3, "lockgate": 3}


def test_a_worker_whose_hook_clears_alive_is_replaced(both):
    def scenario(recorded):
        recorded.get("/retire")
        recorded.wait_for_workers(2)
        recorded.wait_for("worker_exit")
        stop(recorded)

    for recorded in both(scenario):
        expected = sorted([BOOT + OF_REQUESTS + EXIT, BOOT + EXIT])
        assert recorded.in_workers() == expected, recorded.kind


@pytest.mark.parametrize("count", [2, 3, 4])
def test_post_request_takes_two_three_or_four_arguments(both, count):
    def scenario(recorded):
        recorded.get("/")
        recorded.wait_for("post_request")
        stop(recorded)

    for recorded in both(scenario, options={"post_request_takes": count}):
        assert [call["given"] for call in recorded.calls if "given" in call] == [count]


@pytest.mark.parametrize("gunicorn", [False, True], ids=["shim", "installed"])
def test_attributes_of_the_worker_belong_to_the_request_among_threads(tmp_path, gunicorn):
    """Sixteen requests at a time: each finds what its own pre_request has set."""
    path = str(GUNICORN) if gunicorn else ""
    server = Server(
        tmp_path,
        "hooked:app",
        *("-c", str(HERE / "attributes.py"), "--threads", "8", "--log-style", "lockgate"),
        environment={"PYTHONPATH": path},
    )
    try:
        found = []
        threads = [
            threading.Thread(target=lambda n=n: found.append(server.get(f"/sleep?{n}").status))
            for n in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [200] * 16
        assert server.stop() == 0
        assert server.errors.count("own attribute") == 16
        assert "foreign attribute" not in server.errors
        assert "16 requests" in server.errors
    finally:
        server.end()
