"""HUP under load: the new version takes over as a whole, or the old one goes on; no client sees it.

LOCKGATE_TEST_REPEATS says how often each reload under load is repeated, and
LOCKGATE_TEST_IMPORT_SECONDS how long a slow import takes.
"""

import os
import signal
import textwrap

import pytest
from harness import ImportGate, eventually, request
from harness.process import is_alive
from harness.steady import SteadyLoad

REPEATS = int(os.environ.get("LOCKGATE_TEST_REPEATS", "2"))
IMPORT_SECONDS = float(os.environ.get("LOCKGATE_TEST_IMPORT_SECONDS", "2"))

APP = """
import os
{preamble}
VERSION = {version!r}

def app(environ, start_response):
    body = VERSION.encode()
    path = environ["PATH_INFO"]
    if path == "/pid":
        body = str(os.getpid()).encode()
    elif path == "/env":
        body = os.environ.get("COLOUR", "none").encode()
    elif path == "/cwd":
        body = os.getcwd().encode()
    elif path == "/health":
        {health}
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def write(directory, version, preamble="", health="pass"):
    """The application as a deploy would leave it: in place at once."""
    text = APP.format(version=version, preamble=preamble, health=health)
    draft = directory / "site_app.py.new"
    draft.write_text(textwrap.dedent(text))
    draft.rename(directory / "site_app.py")


@pytest.fixture
def deployed(tmp_path, start):
    """Starts a server of version one from a directory of its own."""
    write(tmp_path, "one")

    def deploy(*arguments, **options):
        options.setdefault("workers", 2)
        return start("site_app:app", *arguments, chdir=tmp_path, **options)

    return deploy


def reload(server, outcome, within=20.0):
    before = len(server.errors)
    server.signal(signal.SIGHUP)
    return server.wait_for_log(outcome, within=within, since=before)


def version(server):
    return server.get("/").body.decode()


FAILURES = {
    "import error": dict(preamble="import no_such_module_at_all"),
    "slow import error": dict(preamble="import time; time.sleep(2); raise RuntimeError('late')"),
    "answers 500": dict(
        health="start_response('500 Oops', [('Content-Length', '3')]); return [b'bad']"
    ),
    "raises": dict(health="raise RuntimeError('not well')"),
    "dies": dict(preamble="import os; os._exit(9)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", FAILURES)
def test_a_reload_that_fails_leaves_the_old_version_and_says_why(how, deployed, tmp_path):
    server = deployed("--warmup", "/health")
    before = server.workers()
    write(tmp_path, "two", **FAILURES[how])
    with SteadyLoad(server.address) as load:
        for _ in range(REPEATS):
            marker = len(server.errors)
            line = reload(server, r"reload failed: .*")
            assert "old workers continue to serve" in line
            enough = load.ok + 50
            eventually(lambda: load.ok >= enough, what="50 more answers")  # noqa: B023
            eventually(lambda: server.workers() == before, what="only the old workers")
            log = server.errors[marker:]
            expected = {
                "import error": "No module named 'no_such_module_at_all'",
                "slow import error": "RuntimeError: late",
                "answers 500": "warmup: /health was answered with 500",
                "raises": "RuntimeError: not well",
                "dies": "exited with code 9",
            }[how]
            assert log.count("Traceback") == (0 if how in ("answers 500", "dies") else 1), log
            assert expected in log, log
    assert load.failures == []
    assert set(load.answers) == {"one"}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_a_good_reload_brings_the_new_version_and_no_failure(workers, deployed, tmp_path):
    server = deployed("--warmup", "/health", workers=workers)
    with SteadyLoad(server.address) as load:
        for number in range(REPEATS):
            old = server.workers()
            write(tmp_path, f"version {number}", preamble="import time; time.sleep(0.3)")
            reload(server, r"reload: done in")
            # The old workers were asked to leave a moment ago, and take what waits in the queue.
            new = f"version {number}"
            eventually(lambda: version(server) == new, what="the new version")  # noqa: B023
            eventually(
                lambda: not any(is_alive(pid) for pid in old),  # noqa: B023
                within=15,
                what="the old workers have left",
            )
            assert len(server.workers()) == workers
            enough = load.ok + 50
            eventually(lambda: load.ok >= enough, what="50 more answers")  # noqa: B023
    assert load.failures == []
    assert server.stop() == 0


@pytest.mark.slow
def test_a_slow_import_with_one_worker_delays_no_request(deployed, tmp_path):
    server = deployed(workers=1)
    with SteadyLoad(server.address) as load:
        for number in range(REPEATS):
            write(tmp_path, f"slow {number}", preamble=f"import time; time.sleep({IMPORT_SECONDS})")
            reload(server, r"reload: done in", within=IMPORT_SECONDS + 20)
            enough = load.ok + 50
            eventually(lambda: load.ok >= enough, what="50 more answers")  # noqa: B023
    assert load.failures == []
    assert set(load.answers) == {"one", *(f"slow {number}" for number in range(REPEATS))}


@pytest.mark.slow
def test_a_term_under_load_fails_nothing_that_was_accepted(deployed):
    for _ in range(REPEATS):
        server = deployed()
        with SteadyLoad(server.address) as load:
            eventually(lambda: load.ok >= 100, what="100 answers")  # noqa: B023
            load.expect_stop()
            assert server.stop() == 0
            load.join()
        # Connections that no worker had accepted are reset with the queue that held them.
        assert [failure for failure in load.failures if "kept" in failure] == []


def test_two_reloads_at_once_are_one_after_the_other(deployed, tmp_path):
    server = deployed(workers=1)
    gate = ImportGate(tmp_path)
    write(tmp_path, "two", preamble=gate.preamble)
    server.signal(signal.SIGHUP)
    gate.wait_for(1)
    write(tmp_path, "three")
    for _ in range(3):
        reload(server, "reload queued")
    gate.open()
    eventually(lambda: server.errors.count("reload: done in") == 2, within=15, what="two reloads")
    eventually(lambda: version(server) == "three", what="the version of the last reload")
    assert server.errors.count("starting new workers") == 2


def test_a_term_during_a_reload_ends_both_generations(deployed, tmp_path):
    server = deployed()
    write(tmp_path, "two", preamble="import time; time.sleep(60)")
    server.signal(signal.SIGHUP)
    eventually(lambda: len(server.workers()) == 4, what="both generations")
    assert server.stop(within=10) == 0


def test_a_request_that_runs_is_finished_by_the_old_worker(start, tmp_path):
    server = start("gates:app", workers=1)
    gate = tmp_path / "gate"
    with server.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        eventually(gate.with_name("gate.started").exists, what="the request runs")
        (old,) = server.workers()
        reload(server, r"reload: done in")

        def answers_now():
            pid = int(server.get("/").body)
            return pid if pid != old else None

        # The old worker accepts until the order to stop, sent with the log line, has reached it.
        new = eventually(answers_now, what="the new worker answers")
        gate.touch()
        assert wire.response().body == str(old).encode()
    eventually(lambda: server.workers() == [new], within=15, what="the old worker has left")


def test_an_idle_connection_gets_connection_close_in_its_last_response(deployed):
    server = deployed(workers=1)
    with server.connect() as wire:
        wire.send(request("GET", "/pid"))
        old = wire.response().body
        reload(server, r"reload: done in")
        wire.send(request("GET", "/pid"))
        response = wire.response()
        assert (response.body, response.header("connection")) == (old, "close")
        wire.expect_close()


def test_settings_are_read_again(deployed, tmp_path):
    file = tmp_path / "lockgate.toml"
    file.write_text('workers = 1\nenv = ["COLOUR=red"]\n')
    server = deployed(workers=None)
    assert server.get("/env").body == b"red"
    file.write_text('workers = 2\nenv = []\npid = "x.pid"\n')
    reload(server, r"reload: done in")
    eventually(lambda: len(server.workers()) >= 2, what="two workers")
    assert server.get("/env").body == b"none"
    server.wait_for_log("pid: changed, but takes effect only after a restart")
    file.write_text("workers = 0\n")
    line = reload(server, r"reload failed: .*")
    assert "workers = 0 (from lockgate.toml line 1)" in line
    assert server.get("/").status == 200


def test_addresses_come_and_go_with_a_reload(deployed, tmp_path):
    file = tmp_path / "lockgate.toml"
    first, second = tmp_path / "first.sock", tmp_path / "second.sock"
    file.write_text(f'workers = 1\nbind = ["unix:{first}"]\n')
    server = deployed(workers=None, bind=[])
    assert first.exists()
    file.write_text(f'workers = 1\nbind = ["127.0.0.1:{server.port}", "unix:{second}"]\n')
    reload(server, r"reload: done in")
    assert second.exists() and not first.exists()
    assert version(server) == "one"
    file.write_text(f'workers = 1\nbind = ["127.0.0.1:{server.port}", "192.0.2.1:80"]\n')
    line = reload(server, r"reload failed: .*")
    assert "192.0.2.1" in line
    assert second.exists() and version(server) == "one"


def test_a_release_that_a_link_leads_to_is_followed(start, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, name)
    current = tmp_path / "current"
    current.symlink_to("one")
    server = start("site_app:app", workers=1, chdir=current, environment={"PWD": str(current)})
    assert version(server) == "one"
    current.unlink()
    current.symlink_to("two")
    reload(server, r"reload: done in")
    eventually(lambda: version(server) == "two", what="the new version")
    assert server.get("/cwd").body.decode() == str((tmp_path / "two").resolve())


def test_a_worker_that_takes_too_long_ends_the_reload(deployed, tmp_path):
    server = deployed("--boot-timeout", "3s")
    write(tmp_path, "two", preamble="import time; time.sleep(60)")
    line = reload(server, r"reload failed: .*")
    assert "was not ready within 3.00 s (setting: boot_timeout)" in line
    assert version(server) == "one"
    eventually(lambda: len(server.workers()) == 2, what="only the old workers")


def test_a_first_start_whose_warm_up_fails_exits_with_three(tmp_path, deployed):
    write(tmp_path, "one", **FAILURES["raises"])
    server = deployed("--warmup", "/health", wait=False)
    assert server.wait() == 3
    assert server.errors.count("RuntimeError: not well") == 1
