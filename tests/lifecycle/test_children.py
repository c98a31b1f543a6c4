"""Child processes of the application: they are no workers and hold no descriptors of the server."""

import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest
from harness import Wire, eventually, request
from harness.admin import Admin
from harness.process import APPS, is_alive, open_files, process_stat, processes_of_session

WAYS = ["/multiprocessing", "/fork", "/subprocess"]
# What the server handles in a worker or its supervisor; SIGUSR2 is the application's here.
HANDLED = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN,
    signal.SIGTTOU, signal.SIGWINCH, signal.SIGCHLD,
)  # fmt: skip


def ask(server, target):
    response = server.get(target)
    assert response.status == 200
    return json.loads(response.body)


def settles(pid):
    """Waits until the child holds no socket, and sleeps.

    A handler in Python of an earlier signal may not run: in a process that a thread has forked,
    Python from 3.13 on calls it only when the signal interrupts a system call.
    """
    releases_sockets(pid)
    eventually(lambda: process_stat(pid)[0] == "S", within=5, what=f"{pid} sleeps")


def releases_sockets(pid):
    """Waits until the child holds no socket, as it does when it has settled."""

    def has_released():
        return not any(
            place.startswith(("socket:", "anon_inode:[eventpoll]")) for place in open_files(pid)
        )

    eventually(has_released, within=5, what=f"{pid} holds no socket")


@pytest.mark.parametrize("way", WAYS)
def test_a_child_holds_no_connection_open(start, way):
    server = start("forking:app")
    with server.connect() as idle:
        idle.send(request("GET", "/pid"))
        assert idle.response().status == 200
        # Both connections are there when the child is made, and the client sees one of them closed.
        with server.connect() as wire:
            wire.send(request("GET", way, "Connection: close"))
            child = json.loads(wire.response().body)
            wire.expect_close()
        assert is_alive(child)
        releases_sockets(child)


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
@pytest.mark.parametrize("way", ["/multiprocessing", "/fork"])
def test_a_child_holds_nothing_of_the_server(start, tmp_path, way, preload):
    admin = Admin(start, tmp_path, "forking:app", *preload)
    child = ask(admin.server, way)
    outputs = {"/dev/null", str(admin.server.stdout_path), str(admin.server.stderr_path)}
    # Those of multiprocessing, by which parent and child see each other's end.
    allowed = 2 if way == "/multiprocessing" else 0

    def kept():
        found = [target for target in open_files(child) if target not in outputs]
        pipes = [target for target in found if target.startswith("pipe:")]
        return None if len(pipes) <= allowed and found == pipes else found

    eventually(lambda: kept() is None, within=5, what="the child has closed what is not its own")
    assert kept() is None
    status = Path(f"/proc/{child}/status").read_text()
    caught = int(re.search(r"SigCgt:\t(\w+)", status)[1], 16)
    for number in HANDLED:
        assert not caught >> (number - 1) & 1, (number, hex(caught))
    assert caught >> (signal.SIGUSR2 - 1) & 1, "the application's own handler"


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_a_handler_that_chains_ends_a_child(start, tmp_path, preload):
    note = tmp_path / "note"
    server = start("handlers:app", *preload, environment={"HANDLERS": "chain", "NOTE": str(note)})
    child = int(server.get("/fork").body)
    settles(child)
    os.kill(child, signal.SIGTERM)
    eventually(lambda: not is_alive(child), what="the child has ended by the signal")
    assert note.read_text() == f"{child} handler {signal.SIGTERM:d}\n"
    assert server.get("/").status == 200


@pytest.mark.parametrize("way", WAYS)
def test_a_child_does_not_keep_the_port(start, way):
    server = start("forking:app")
    child = ask(server, way)
    server.process.kill()
    server.wait()
    # A daemon of multiprocessing leaves with the worker; the others stay.
    eventually(lambda: set(processes_of_session(server.pid)) <= {child}, what="the server is gone")
    again = start("hello:app", bind=[f"127.0.0.1:{server.port}"])
    again.address = server.address
    assert again.get("/").body == b"hello"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1"])
def test_signals_end_a_child_as_they_end_any_process(start, way, name):
    server = start("forking:app")
    child = ask(server, way)
    releases_sockets(child)
    os.kill(child, getattr(signal, name))
    assert ask(server, f"/wait?{child}") == -getattr(signal, name)


def test_a_child_keeps_the_handlers_of_the_application(start):
    server = start("forking:app")
    child = ask(server, "/fork")
    settles(child)
    os.kill(child, signal.SIGUSR2)
    assert ask(server, f"/wait?{child}") == 22


def test_the_worker_keeps_its_own_handlers(start):
    server = start("forking:app")
    before = ask(server, "/pid")
    child = ask(server, "/fork")
    os.kill(before, signal.SIGTERM)
    eventually(lambda: not is_alive(before), what="the worker has drained")
    assert is_alive(child)
    assert eventually(lambda: ask(server, "/pid"), what="another worker") != before


@pytest.mark.parametrize(
    "way, code, logged",
    [
        ("/returns", 0, r"WARNING.*has returned from the application's call"),
        ("/exits", 5, None),
        ("/fails", 1, r"ERROR.*child process(?s:.*)raised in the child"),
        ("/logs", 0, "written by a child"),
    ],
)
@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_child_that_comes_back_ends_and_only_the_parent_answers(
    start, threads, way, code, logged
):
    server = start("forking:app", "--threads", threads)
    worker = ask(server, "/pid")
    with server.connect() as wire:
        for _ in range(3):
            wire.send(request("GET", way))
            child = json.loads(wire.response().body)
            wire.send(request("GET", f"/wait?{child}"))
            assert json.loads(wire.response().body) == code
            assert wire.pending == b""
    if logged:
        server.wait_for_log(logged)
    assert server.workers() == [worker]


def test_children_under_connections_that_come_and_go_hold_none(start):
    server = start("forking:app", "--threads", "4")
    kept = [server.connect() for _ in range(20)]
    for number in range(30):
        child = ask(server, "/fork")
        releases_sockets(child)
        os.kill(child, signal.SIGKILL)
        kept.pop(0).close()
        kept.append(Wire(server.address))
        assert ask(server, f"/wait?{child}") == -signal.SIGKILL, number
    for wire in kept:
        wire.send(request("GET", "/pid", "Connection: close"))
        assert wire.response().status == 200
        wire.expect_close()
        wire.close()


@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_a_child_that_is_made_at_import_does_not_keep_the_port(start, tmp_path, preload):
    note = tmp_path / "children"
    (tmp_path / "pooled.py").write_text(
        "import os, time\n"
        "from protocol import show_environ as app\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    time.sleep(60)\n"
        "    os._exit(0)\n"
        f"open({str(note)!r}, 'a').write(f'{{child}}\\n')\n"
    )
    server = start("pooled:app", "--pythonpath", str(APPS), *preload, chdir=tmp_path, workers=2)
    assert server.get("/").status == 200
    children = [int(line) for line in note.read_text().split()]
    assert len(children) == (1 if preload else 2)
    assert server.stop() == 0
    if preload:
        # It serves all workers of its fork server, and is killed after the last of them.
        eventually(lambda: not any(map(is_alive, children)), what="the fork server's child is gone")
    else:
        assert all(map(is_alive, children)), "the application's own process goes on"
    with socket.socket() as probe:
        # Past connections linger, and would be in the way; one that listens is all the same.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(server.address)
