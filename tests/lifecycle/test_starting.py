"""Startup with pid files and ports of another or an earlier server."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from harness import eventually, free_port, request, run

SLEEPER = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture
def unrelated():
    """A process that is no server."""
    with subprocess.Popen(SLEEPER, stdin=subprocess.PIPE) as process:
        yield process.pid
        process.stdin.close()


def held(gate):
    started = gate.with_name(gate.name + ".started")
    eventually(started.exists, what="the request runs")


@pytest.mark.parametrize("left", ["1\n", "unrelated", "the test itself", "not a number", ""])
def test_a_number_in_the_pid_file_never_stops_a_start(start, tmp_path, unrelated, left):
    path = tmp_path / "server.pid"
    numbers = {"unrelated": unrelated, "the test itself": os.getpid()}
    path.write_text(str(numbers.get(left, left)))
    server = start("hello:app", "--pid", str(path))
    assert path.read_text() == f"{server.pid}\n"
    assert server.stop() == 0
    assert not path.exists()


def test_a_second_server_is_refused_with_the_pid_of_the_first(start, tmp_path):
    path = tmp_path / "server.pid"
    server = start("hello:app", "--pid", str(path))
    second = run("hello:app", "-b", "127.0.0.1:0", "--pid", str(path))
    assert second.returncode == 1
    assert (
        f"already running with pid {server.pid}, which holds the lock of the pid file {path}: "
        "stop it or choose another --pid"
    ) in second.stderr
    assert path.read_text() == f"{server.pid}\n"
    assert server.get("/").body == b"hello"


def test_a_successor_starts_while_the_one_before_drains(start, tmp_path):
    path, gate, admin = (tmp_path / name for name in ("server.pid", "gate", "admin"))
    # The file is the only thing that they share: the port of the first one is free when it drains.
    first = start("gates:app", "--pid", str(path))
    with first.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        held(gate)
        first.signal(signal.SIGTERM)
        second = start(
            "gates:app", "--pid", str(path), "--admin-bind", f"unix:{admin}",
            bind=[f"127.0.0.1:{first.port}"],
        )  # fmt: skip
        assert first.process.poll() is None, "it still drains"
        assert path.read_text() == f"{second.pid}\n"
        gate.touch()
        assert wire.response().status == 200
    assert first.wait() == 0
    assert path.read_text() == f"{second.pid}\n", "the first one removes no file but its own"
    assert second.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_a_server_starts_at_once_after_its_supervisor_was_killed(start, tmp_path, preload):
    path, gate = tmp_path / "server.pid", tmp_path / "gate"
    admin = ["--admin-bind", f"unix:{tmp_path / 'admin'}"]
    first = start("gates:app", "--pid", str(path), *admin, *preload)
    with first.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        held(gate)
        first.signal(signal.SIGKILL)
        first.wait()
        # A worker lives on with its request, and holds nothing that the next server needs.
        second = start("hello:app", "--pid", str(path), *admin)
        assert path.read_text() == f"{second.pid}\n"
        gate.touch()
    assert second.stop() == 0


@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_an_upgrade_keeps_the_pid_file_and_its_lock(start, tmp_path, preload):
    path = tmp_path / "server.pid"
    server = start("hello:app", "--pid", str(path), *preload)
    inode = path.stat().st_ino
    server.signal(signal.SIGUSR2)
    server.wait_for_log("reload: done in", within=20)
    assert path.stat().st_ino == inode
    second = run("hello:app", "-b", "127.0.0.1:0", "--pid", str(path))
    assert second.returncode == 1, second.stderr
    assert f"already running with pid {server.pid}," in second.stderr
    assert server.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_port_in_use_is_tried_until_it_is_free(start, tmp_path, kind):
    address = ("127.0.0.1", free_port()) if kind == "tcp" else str(tmp_path / "app.sock")
    bind = f"unix:{address}" if kind == "unix" else f"127.0.0.1:{address[1]}"
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    with socket.socket(family) as holder:
        holder.bind(address)
        holder.listen()
        server = start("hello:app", bind=[bind], wait=False)
        server.wait_for_log(rf"{re.escape(bind)} is in use: trying again for 5 s")
    server.wait_until_ready()
    server.address = address
    assert server.get("/").body == b"hello"
    assert server.errors.count("is in use") == 1


@pytest.mark.slow
def test_a_port_that_stays_in_use_is_exit_1_with_what_to_do():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        refused = run("hello:app", "-b", f"127.0.0.1:{port}")
    assert refused.returncode == 1
    assert refused.stderr.count("is in use: trying again for 5 s") == 1
    assert (
        f"another process listens on 127.0.0.1:{port}: stop it or choose another --bind "
        f"(Address already in use (os error 98)); `ss -ltnp sport = :{port}` names it"
    ) in refused.stderr
