"""Under systemd: notifications, the watchdog, sockets; and the delay of a stop."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest
from harness import NotifySocket, PassedSockets, Wire, eventually, request, run
from harness.process import SYSTEMD, TESTS, clean_environment
from harness.requirements import require_program
from harness.steady import SteadyLoad


@pytest.fixture
def notified(tmp_path):
    with NotifySocket(tmp_path) as notify:
        yield notify


@pytest.fixture
def passed():
    """Makes sockets that a server is started with: passed("web", "api")."""
    made = []

    def passed(*names):
        made.append(PassedSockets(names))
        return made[-1]

    yield passed
    for sockets in made:
        sockets.__exit__()


@pytest.fixture
def activate(start):
    """Starts a server that finds sockets; without `bind` nothing says where to listen."""

    def activate(sockets, app, *arguments, bind=(), **options):
        return start(
            app,
            *arguments,
            bind=bind,
            prefix=sockets.prefix,
            pass_fds=sockets.numbers,
            **options,
        )

    return activate


def ask(address, target="/"):
    with Wire(address) as wire:
        wire.send(request("GET", target, "Connection: close", host="localhost"))
        response = wire.response()
        wire.expect_close()
    return response


def gated(notified, directory):
    """The environment of `serviced:app`, and the file that lets all workers but the first on."""
    gate = directory / "gate"
    return {**notified.environment, "IMPORT_GATE": str(gate)}, gate


def open_gate(gate, word="open"):
    draft = gate.with_suffix(".new")
    draft.write_text(word)
    draft.rename(gate)


def test_ready_is_sent_when_every_worker_of_the_first_generation_is_ready(
    start, notified, tmp_path
):
    environment, gate = gated(notified, tmp_path)
    server = start("serviced:app", workers=2, environment=environment, wait=False)
    notified.wait_for("STATUS", "booting: 1 of 2 workers are ready")
    assert server.get("/environ").status == 200, "the first worker serves already"
    assert notified.count("READY") == 0
    open_gate(gate)
    ready = notified.wait_for("READY")
    assert ready["MAINPID"] == str(server.pid)
    assert ready["STATUS"] == "2 workers serve"
    assert server.stop() == 0
    assert notified.count("READY") == 1
    stopping = next(place for place, m in enumerate(notified.read()) if "STOPPING" in m)
    assert notified.messages[stopping]["STOPPING"] == "1"
    left = [m["STATUS"] for m in notified.messages[stopping + 1 :]]
    assert left == ["draining: 2 workers left", "draining: 1 worker left"]


def test_an_abstract_socket_is_notified_too(start, tmp_path):
    name = f"lockgate-test-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reported:
        reported.bind("\0" + name)
        reported.settimeout(10)
        start("hello:app", environment={"NOTIFY_SOCKET": "@" + name})
        assert reported.recv(4096).startswith(b"STATUS=booting: 0 of 1")
        assert reported.recv(4096).startswith(b"READY=1\n")


def test_a_first_boot_that_fails_never_sends_ready(start, notified):
    server = start("broken_import:app", workers=2, environment=notified.environment, wait=False)
    assert server.wait() == 3
    stopping = notified.wait_for("STOPPING")
    assert stopping["STATUS"] == "stopping: the application did not start (exit code 3)"
    assert notified.count("READY") == 0


@pytest.mark.parametrize("word", ["open", "no such luck"])
def test_a_reload_is_notified_from_beginning_to_end(start, notified, tmp_path, word):
    environment, gate = gated(notified, tmp_path)
    server = start("serviced:app", workers=1, environment=environment)
    notified.wait_for("READY")
    before = len(notified.messages)
    asked = time.clock_gettime(time.CLOCK_MONOTONIC)
    server.signal(signal.SIGHUP)
    reloading = notified.wait_for("RELOADING", since=before)
    assert asked <= int(reloading["MONOTONIC_USEC"]) / 1e6
    assert int(reloading["MONOTONIC_USEC"]) / 1e6 <= time.clock_gettime(time.CLOCK_MONOTONIC)
    notified.wait_for("STATUS", "reload: 0 of 1 new workers are ready", since=before)
    assert notified.count("READY") == 1, "it has not ended"
    open_gate(gate, word)
    ready = notified.wait_for("READY", since=before)
    if word == "open":
        assert ready["STATUS"] == "1 worker serves"
        assert "MAINPID" in ready
    else:
        assert ready["STATUS"].startswith("reload failed: worker 1 (pid ")
        assert "serviced" in ready["STATUS"]
        assert notified.statuses()[-1] == ready["STATUS"], "and that is what can be read on"
    assert server.get("/environ").status == 200


def test_a_reload_with_wrong_settings_is_notified_as_failed(start, notified, tmp_path):
    settings = tmp_path / "site.toml"
    settings.write_text("workers = 1\n")
    server = start("hello:app", "-c", str(settings), workers=None, environment=notified.environment)
    notified.wait_for("READY")
    before = len(notified.messages)
    settings.write_text("workers = 0\n")
    server.signal(signal.SIGHUP)
    ready = notified.wait_for("READY", since=before)
    assert re.match(r"reload failed: workers = 0 \(from .*must be at least 1", ready["STATUS"])
    assert "RELOADING" in notified.messages[before]


def test_the_watchdog_is_notified_while_the_server_boots_and_serves(start, notified, tmp_path):
    environment, gate = gated(notified, tmp_path)
    environment["WATCHDOG_USEC"] = "400000"
    server = start("serviced:app", workers=2, environment=environment, wait=False)
    eventually(lambda: notified.count("WATCHDOG") >= 3, what="beats while it boots")
    assert notified.count("READY") == 0
    open_gate(gate)
    notified.wait_for("READY")
    beats = notified.count("WATCHDOG")
    eventually(lambda: notified.count("WATCHDOG") >= beats + 3, what="beats while it serves")
    # A supervisor that does not turn is noticed: nothing but its main loop says that it lives.
    server.signal(signal.SIGSTOP)
    try:
        eventually(lambda: is_stopped(server.pid), what="it is stopped")
        beats = notified.count("WATCHDOG")
        assert server.get("/environ").status == 200
        # Another server is the clock: three of its beats take as long as two of ours would.
        (tmp_path / "clock").mkdir()
        with NotifySocket(tmp_path / "clock") as clock:
            start("hello:app", environment={**clock.environment, "WATCHDOG_USEC": "400000"})
            eventually(lambda: clock.count("WATCHDOG") >= 3, what="time passes")
        assert notified.count("WATCHDOG") == beats
    finally:
        server.signal(signal.SIGCONT)


def is_stopped(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "T"


def test_the_watchdog_of_another_process_is_not_served(start, notified):
    environment = {**notified.environment, "WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"}
    server = start("hello:app", environment=environment)
    assert server.stop() == 0
    assert notified.count("READY") == 1
    assert notified.count("WATCHDOG") == 0


def test_the_application_does_not_see_the_variables_of_the_service_manager(
    activate, passed, notified, monkeypatch
):
    sockets = passed("web")
    environment = {**notified.environment, "WATCHDOG_USEC": "30000000", "KEPT": "1"}
    server = activate(sockets, "serviced:app", environment=environment)
    for _ in range(2):
        seen = json.loads(ask(sockets.address(0)).body)
        assert seen["KEPT"] == "1"
        assert not {"LISTEN_FDNAMES", *SYSTEMD} & set(seen)
        before = len(notified.read())
        server.signal(signal.SIGHUP)
        notified.wait_for("READY", since=before)


def test_programs_of_the_application_do_not_inherit_passed_sockets(activate, passed):
    sockets = passed("web", "unused")
    activate(sockets, "spawning:app", bind=["systemd:web"])
    pid = int(ask(sockets.address(0), "/spawn").body)
    held = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        # A program that starts opens and closes files.
        with contextlib.suppress(FileNotFoundError):
            held.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    assert ask(sockets.address(0), "/reap").body == b"reaped"
    assert not [place for place in held if place.startswith("socket:")], held


def test_a_notify_socket_that_is_not_there_is_a_warning_and_no_more(start, tmp_path):
    server = start("hello:app", environment={"NOTIFY_SOCKET": str(tmp_path / "none.sock")})
    assert server.get("/").status == 200
    assert server.stop() == 0
    assert server.errors.count("NOTIFY_SOCKET: cannot notify the service manager") == 1


@pytest.mark.parametrize(
    ("bind", "served"),
    [([], [0, 1]), (["systemd"], [0, 1]), (["systemd:api"], [1]), (["systemd:web"], [0])],
)
def test_sockets_are_found_by_their_names_and_without_bind(activate, passed, bind, served):
    sockets = passed("web", "api")
    server = activate(sockets, "serviced:app", bind=bind)
    for number in served:
        host, port = sockets.address(number)
        assert f"listening at http://{host}:{port} " in server.errors
        seen = json.loads(ask((host, port), "/environ").body)
        assert seen == {"SERVER_NAME": host, "SERVER_PORT": str(port)}
    assert server.errors.count("listening at") == len(served)


def test_only_the_configured_addresses_are_bound(activate, passed):
    sockets = passed("web")
    server = activate(sockets, "hello:app", bind=None)
    assert server.get("/").body == b"hello"
    assert server.errors.count("listening at") == 1


def test_the_admin_listener_may_be_a_passed_socket(activate, passed):
    sockets = passed("web", "admin")
    server = activate(sockets, "hello:app", "--admin-bind", "systemd:admin")
    assert ask(sockets.address(0)).body == b"hello"
    with Wire(sockets.address(1)) as wire:
        wire.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.response().status == 200
    assert server.errors.count("listening at") == 1, "all that no other setting names"


@pytest.mark.parametrize(
    ("environment", "bind", "complaint"),
    [
        (
            {},
            "systemd:www",
            'bind = "systemd:www": systemd has passed no socket of this name; '
            "the names (FileDescriptorName=) are: web, api",
        ),
        ({"LISTEN_PID": "1"}, "systemd:web", "no sockets were passed to this process"),
        ({"LISTEN_PID": "1"}, "systemd", "no sockets were passed to this process"),
    ],
)
def test_a_name_that_was_not_passed_is_an_error(activate, passed, environment, bind, complaint):
    sockets = passed("web", "api")
    server = activate(sockets, "hello:app", bind=[bind], environment=environment, wait=False)
    assert server.wait() == 2
    assert complaint in server.errors
    assert "Traceback" not in server.errors


@pytest.mark.parametrize(
    ("environment", "bind"),
    [({}, '"systemd"'), ({"LISTEN_PID": "1"}, '"127.0.0.1:8000"')],
)
def test_sockets_of_another_process_are_not_taken(activate, passed, environment, bind):
    sockets = passed("web")
    server = activate(sockets, "hello:app", "--print-config", environment=environment, wait=False)
    assert server.wait() == 0
    assert f"bind = [{bind}] " in server.output


def test_without_systemd_a_named_socket_is_an_error_that_says_so():
    said = run("hello:app", "-b", "systemd:web")
    assert said.returncode == 2
    assert "LISTEN_FDS" in said.stderr
    assert run("hello:app", "-b", "systemd:web", "--check-config").returncode == 0


def test_a_unix_socket_of_systemd_is_called_by_its_path_and_not_removed(start, tmp_path):
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        sockets = PassedSockets([])
        sockets.names, sockets.sockets = ["web"], [listening]
        server = start("hello:app", bind=[], prefix=sockets.prefix, pass_fds=sockets.numbers)
        assert f"listening at unix:{path} " in server.errors
        assert ask(str(path)).body == b"hello"
        assert server.stop() == 0
        assert path.exists()


def test_sockets_survive_reloads_also_one_that_drops_them(activate, passed, tmp_path):
    sockets = passed("web", "api")
    settings = tmp_path / "site.toml"
    settings.write_text('bind = ["systemd:web", "systemd:api"]\n')
    server = activate(sockets, "hello:app", "-c", str(settings))
    with SteadyLoad(sockets.address(0)) as load:
        for bind in ["systemd:web", "systemd", "systemd:web"]:
            before = len(server.errors)
            settings.write_text(f'bind = "{bind}"\n')
            server.signal(signal.SIGHUP)
            server.wait_for_log(r"reload: done", since=before)
            eventually(lambda: len(server.workers()) == 1, what="the old worker has left")
            if bind == "systemd":
                assert ask(sockets.address(1)).body == b"hello"
    assert load.failures == []
    assert load.ok > 0


def test_an_upgrade_is_notified_as_a_reload_and_keeps_passed_sockets(activate, passed, notified):
    sockets = passed("web", "api")
    environment = notified.environment | {"WATCHDOG_USEC": "10000000"}
    server = activate(
        sockets, "hello:app", bind=["systemd:web", "systemd:api"], environment=environment
    )
    notified.wait_for("READY")
    for _ in range(3):
        before = len(notified.read())
        server.signal(signal.SIGUSR2)
        notified.wait_for("RELOADING", since=before)
        ready = notified.wait_for("READY", since=before)
        assert ready["MAINPID"] == str(server.pid)
        for number in range(2):
            assert ask(sockets.address(number)).body == b"hello"
    assert server.stop() == 0
    assert notified.count("STOPPING") == 1


def test_an_upgrade_to_a_name_that_was_not_passed_keeps_the_old_program(activate, passed, tmp_path):
    sockets = passed("web")
    settings = tmp_path / "site.toml"
    settings.write_text('bind = "systemd:web"\n')
    server = activate(sockets, "hello:app", "-c", str(settings))
    workers = server.workers()
    settings.write_text('bind = "systemd:www"\n')
    server.signal(signal.SIGUSR2)
    line = server.wait_for_log(r"upgrade failed: .*")
    assert "no socket of this name; the names (FileDescriptorName=) are: web" in line
    assert server.workers() == workers
    settings.write_text('bind = "systemd"\n')
    server.signal(signal.SIGUSR2)
    server.wait_for_log(r"reload: done")
    assert ask(sockets.address(0)).body == b"hello"


def test_connections_that_wait_in_a_passed_socket_are_served_by_the_next_server(activate, passed):
    sockets = passed("web")
    first = activate(sockets, "hello:app")
    assert first.stop() == 0
    with Wire(sockets.address(0)) as wire:
        wire.send(request("GET", "/", "Connection: close"))
        activate(sockets, "hello:app")
        assert wire.response().body == b"hello"


class Delayed:
    """A server with an admin listener that goes on serving for `delay` when it is asked to stop."""

    def __init__(self, start, directory, delay, notified):
        self.admin = directory / "admin.sock"
        self.server = start(
            "gates:app",
            "--admin-bind",
            f"unix:{self.admin}",
            "--drain-delay",
            delay,
            workers=2,
            environment=notified.environment,
        )

    def readiness(self):
        return ask(str(self.admin), "/readyz")


def test_during_the_delay_of_a_stop_all_is_served_and_the_server_is_not_ready(
    start, tmp_path, notified
):
    delayed = Delayed(start, tmp_path, "1h", notified)
    server = delayed.server
    assert delayed.readiness().status == 200
    with server.connect() as kept:
        kept.send(request("GET", "/"))
        assert not kept.response().wants_close()
        server.signal(signal.SIGTERM)
        stopping = notified.wait_for("STOPPING")
        assert stopping["STATUS"] == "stop requested: serving for another 3600 s"
        readiness = delayed.readiness()
        assert (readiness.status, readiness.body) == (503, b"draining\n")
        # Old connections and new ones, and a worker that dies now has a successor.
        kept.send(request("GET", "/"))
        assert not kept.response().wants_close()
        workers = server.workers()
        os.kill(int(server.get("/").body), signal.SIGKILL)
        eventually(lambda: len(server.workers()) == len(workers), what="a successor")
        assert server.get("/").status == 200
        assert notified.count("STOPPING") == 1
        assert not [status for status in notified.statuses() if "draining" in status]
    # Two requests to stop within 100 ms count as one.
    time.sleep(0.2)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "skipping the rest of drain_delay" in server.errors
    assert "stopping: workers finish their requests" in server.errors
    assert notified.count("STOPPING") == 1


def test_after_the_delay_the_server_drains(start, tmp_path, notified):
    delayed = Delayed(start, tmp_path, "300ms", notified)
    assert delayed.server.stop() == 0
    log = delayed.server.errors
    assert log.index("setting: drain_delay") < log.index("stopping: workers finish")
    reported = notified.statuses()
    assert reported.index("stop requested: serving for another 0.30 s") < reported.index(
        "draining: 2 workers left"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_quick_stop_has_no_delay(start, tmp_path, notified, number):
    delayed = Delayed(start, tmp_path, "1h", notified)
    delayed.server.signal(number)
    assert delayed.server.wait() == 0


@pytest.mark.parametrize("kind", ["notify", "notify-reload"])
def test_systemd_accepts_the_unit_files(tmp_path, kind):
    require_program("systemd-analyze", package="systemd")
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, check=True)
    if kind == "notify-reload" and int(version.stdout.split()[1]) < 253:
        pytest.skip("systemd older than 253")
    for unit in (TESTS.parent / "contrib" / "systemd").iterdir():
        # The programs that they name are not installed here.
        text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text())
        if kind == "notify-reload":
            text = re.sub(r"(?m)^(Type=notify|ExecReload=.*)\n", "", text)
            text = text.replace("#Type=notify-reload", "Type=notify-reload")
        (tmp_path / unit.name).write_text(text)
    units = ["./lockgate.service", "./lockgate.socket", "./lockgate@shop.service"]
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said
    assert "lockgate" not in said.stderr, said.stderr
