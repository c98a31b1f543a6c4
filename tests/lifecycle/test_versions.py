"""USR2 between two versions of the server, whose memory may have other layouts.

`LOCKGATE_OTHER_WHEEL=FILE` repeats the first test with a real wheel (`make test-upgrade`).
"""

import json
import os
import re
import signal
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from harness import eventually, request
from harness.process import is_alive, processes_of_session
from harness.steady import SteadyLoad
from harness.versions import Environment, other_wheel, wheel_of_installed

INSTALLED = version("lockgate")
OTHER = "99.1"
APP = """
import os, time
from importlib.metadata import version

VERSION = version("lockgate")
CALLS = 0
while os.path.exists("gate"):
    time.sleep(0.02)

def app(environ, start_response):
    global CALLS
    CALLS += 1
    path, headers = environ["PATH_INFO"], []
    body = VERSION
    if path == "/cached":
        headers.append(("Cache-Control", "max-age=1000"))
        body = f"{os.getpid()} {CALLS}"
    if path == "/slow":
        time.sleep(3)
    headers.append(("Content-Length", str(len(body))))
    start_response("200 OK", headers)
    return [body.encode()]
"""
SETTINGS = """
workers = 2
threads = 4
timeout = "4s"
admin_bind = "unix:admin.sock"
cache = "4MiB"
rate_limit = ["100000/min"]
push = true
uwsgi_module = true
"""
#: What an operator reads in the warning, by the name of the layout.
TITLES = {"scoreboard": "counters", "responses": "response cache", "rates": "rate limits"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    directory = tmp_path_factory.mktemp("wheels")
    return {
        "installed": wheel_of_installed(directory, INSTALLED),
        "same layouts": wheel_of_installed(directory, OTHER),
        "other scoreboard": wheel_of_installed(directory, "99.2", other_layouts="scoreboard"),
        "other layouts": wheel_of_installed(directory, "99.3", other_layouts=".*"),
        # Its module has nothing that the installed version calls at an upgrade.
        "other modules": wheel_of_installed(
            directory, "99.4", other_modules={"lockgate/successor.py": "OTHER = True\n"}
        ),
    }


@pytest.fixture
def site(tmp_path):
    (tmp_path / "site_app.py").write_text(APP)
    (tmp_path / "lockgate.toml").write_text(SETTINGS)
    return tmp_path


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("versions") / "venv")


@pytest.fixture
def serve(start, site, environment):
    def serve(*arguments):
        program = (str(environment.program),)
        return start(
            "site_app:app", "--pid", "pid", *arguments, chdir=site, workers=None, program=program
        )

    return serve


def number_of(wheel):
    return wheel.name.split("-")[1]


def requests_counted(server, site, environment):
    metrics = environment.run("ctl", "--admin", "unix:admin.sock", "metrics", chdir=site)
    lines = [line for line in metrics.splitlines() if line.startswith("lockgate_responses_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def upgrade(server, site, number):
    """USR2, until only workers of the version `number` are left. Returns what was logged."""
    old, before = server.workers(), len(server.errors)
    server.signal(signal.SIGUSR2)
    server.wait_for_log(r"reload: done in|upgrade failed.*\n.*", within=40, since=before)
    assert "upgrade failed" not in server.errors[before:], server.errors[before:]
    eventually(lambda: server.get("/").body == number.encode(), what=f"version {number}")
    eventually(lambda: not set(old) & set(server.workers()), what="the old have left", within=20)
    return server.errors[before:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "other, differ", [("other scoreboard", "scoreboard"), ("other layouts", ".*")]
)
def test_upgrade_and_downgrade_lose_no_request_and_read_no_memory_of_another_layout(
    serve, site, environment, wheels, other, differ
):
    environment.install(wheels["installed"])
    server = serve()
    pid = server.pid
    assert server.get("/").body == INSTALLED.encode()
    with SteadyLoad(server.address, rate=100) as load:
        for wheel in (wheels[other], wheels["installed"]):
            cached = server.get("/cached").body
            assert server.get("/cached").body == cached
            counted = requests_counted(server, site, environment)
            environment.install(wheel)
            done, slow = load.ok, server.connect()
            slow.send(request("GET", "/slow", "Connection: close"))
            logged = upgrade(server, site, number_of(wheel))
            assert slow.response().status == 200
            slow.close()
            for name, title in TITLES.items():
                is_new = differ in (name, ".*")
                assert (title in warning_of(logged)) == is_new, (name, logged)
            answered = load.ok - done
            after = requests_counted(server, site, environment)
            # Only what workers of this version have answered.
            assert 0 < after < counted + answered
            keeps_cache = differ != ".*"
            assert (server.get("/cached").body == cached) == keeps_cache
            # Memory that begins empty is used.
            assert server.get("/cached").body == server.get("/cached").body
            enough = load.ok + 20
            eventually(lambda: load.ok >= enough, what="20 more answers")  # noqa: B023
    assert load.failures == []
    assert server.pid == pid and (site / "pid").read_text() == f"{pid}\n"
    assert server.stop() == 0
    assert processes_of_session(pid) == []
    assert not (site / "admin.sock").exists() and not (site / "pid").exists()


def warning_of(logged):
    lines = [line for line in logged.splitlines() if "begins empty" in line]
    assert len(lines) <= 1
    return "".join(lines)


def is_worker(pid):
    try:
        return bool(re.fullmatch(r"lockgate-w\d+\n", Path(f"/proc/{pid}/comm").read_text()))
    except FileNotFoundError:
        return False


def test_workers_of_another_version_serve_until_the_new_ones_do(serve, site, environment, wheels):
    environment.install(wheels["installed"])
    server = serve()
    old = set(server.workers())
    environment.install(wheels["other layouts"])
    # The new version imports the application, and waits in it.
    (site / "gate").touch()
    before = len(server.errors)
    server.signal(signal.SIGUSR2)
    server.wait_for_log("serve until new ones are ready", within=40, since=before)
    # The admin process is another one, too: it ends now.
    serving = [pid for pid in old if is_worker(pid)]
    assert len(serving) == 2
    # The workers are still heard: none is aborted for its silence (setting: timeout).
    until = time.monotonic() + 5
    while time.monotonic() < until:
        assert server.get("/").body == INSTALLED.encode()
        time.sleep(0.1)
    assert "aborting it" not in server.errors
    assert all(map(is_alive, serving))
    # They obey, too.
    assert server.stop() == 0
    assert processes_of_session(server.pid) == []


def test_a_worker_of_another_version_that_dies_is_replaced(serve, site, environment, wheels):
    environment.install(wheels["installed"])
    server = serve()
    shown = environment.run("ctl", "--admin", "unix:admin.sock", "status", chdir=site)
    workers = [worker["pid"] for worker in json.loads(shown)["workers"]]
    environment.install(wheels["other layouts"])
    (site / "site_app.py").write_text("import no_such_module_at_all\n")
    before = len(server.errors)
    server.signal(signal.SIGUSR2)
    server.wait_for_log("reload failed", within=40, since=before)
    assert server.get("/").body == INSTALLED.encode()
    (site / "site_app.py").write_text(APP)
    os.kill(workers[0], signal.SIGKILL)
    eventually(lambda: not is_alive(workers[0]), what="the worker is dead")
    eventually(
        lambda: {server.get("/").body for _ in range(8)} == {b"99.3", INSTALLED.encode()},
        within=20,
        what="workers of both versions",
    )
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done in", within=40, since=before)
    eventually(lambda: not any(map(is_alive, workers)), what="the old have left")
    assert server.get("/").body == b"99.3"
    assert server.stop() == 0


def test_a_version_upgrades_with_its_own_modules(serve, site, environment, wheels):
    environment.install(wheels["installed"])
    server = serve()
    environment.install(wheels["other modules"])
    # A reload would mix the versions.
    warning = "the installed package was replaced"
    server.signal(signal.SIGHUP)
    server.wait_for_log(warning, within=40)
    server.wait_for_log("reload: done in", within=40)
    assert warning not in upgrade(server, site, "99.4")
    assert server.stop() == 0


@pytest.mark.skipif(other_wheel() is None, reason="LOCKGATE_OTHER_WHEEL names no wheel")
def test_real_releases_replace_each_other_without_a_lost_request(serve, site, environment, wheels):
    other = other_wheel()
    assert isinstance(other, Path)
    environment.install(other)
    server = serve()
    pid = server.pid
    with SteadyLoad(server.address, rate=100) as load:
        environment.install(wheels["same layouts"])
        upgrade(server, site, OTHER)
        environment.install(other)
        old, before = server.workers(), len(server.errors)
        server.signal(signal.SIGUSR2)
        done = server.wait_for_log(r"reload: done in|upgrade failed", within=40, since=before)
        if done == "upgrade failed":
            # A release from before format 11 refuses; nothing has changed.
            assert "restart the server instead" in server.errors[before:]
            assert server.get("/").body == OTHER.encode()
        else:
            number = number_of(other).encode()
            eventually(lambda: server.get("/").body == number, what="the other version")
            eventually(lambda: not set(old) & set(server.workers()), what="the old have left")
    assert load.failures == []
    assert server.stop() == 0
    assert processes_of_session(pid) == []
