"""uWSGI's stats server: one JSON document for each connection."""

import json
import os
import pty
import select
import socket
import sys
import time
from pathlib import Path

from harness import eventually, free_port
from harness.requirements import require_module

UWSGITOP = Path(sys.executable).parent / "uwsgitop"


def document(address):
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as connection:
        connection.settimeout(10)
        connection.connect(address)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return json.loads(received)


def test_each_connection_gets_the_document(start):
    port = free_port()
    server = start("gates:app", "--uwsgi-stats", f"127.0.0.1:{port}", workers=2)
    server.wait_for_log(f"uWSGI stats server at 127.0.0.1:{port}")
    for _ in range(5):
        server.get("/")

    def counted():
        found = document(("127.0.0.1", port))
        workers = found["workers"]
        is_complete = len(workers) == 2 and sum(worker["requests"] for worker in workers) == 5
        return found if is_complete else None

    found = eventually(counted, what="5 requests of two workers are counted")
    assert found["pid"] == server.pid
    assert [worker["id"] for worker in found["workers"]] == [1, 2]
    assert {worker["pid"] for worker in found["workers"]} <= set(server.workers())


def test_a_unix_socket_as_uwsgi_writes_it_and_the_admin_listener_beside_it(start, tmp_path):
    path, port = tmp_path / "stats.sock", free_port()
    arguments = ["--uwsgi-stats", str(path), "--admin-bind", f"127.0.0.1:{port}"]
    server = start("gates:app", *arguments)
    eventually(lambda: path.exists() and document(str(path))["workers"], what="a worker")
    with socket.create_connection(("127.0.0.1", port)) as admin:
        admin.sendall(b"GET /uwsgi HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200 OK" in admin.recv(65536)
    assert server.stop() == 0
    assert not path.exists()


def test_the_document_has_the_shared_caches(start, tmp_path):
    path = tmp_path / "stats.sock"
    arguments = ["--uwsgi-module", "--uwsgi-cache", "name=c,items=1", "--uwsgi-stats", str(path)]
    server = start("uwsgi_app:app", *arguments)
    calls = "uwsgi.cache_set('a', '1'), uwsgi.cache_set('b', '2'), uwsgi.cache_get('a')"
    assert server.post("/", f"{calls}, uwsgi.cache_get('b')".encode()).status == 200
    (cache,) = document(str(path))["caches"]
    counts = {name: cache[name] for name in ("name", "items", "hits", "miss", "full")}
    assert counts == {"name": "c", "items": 1, "hits": 1, "miss": 1, "full": 1}


def test_clients_that_take_nothing_or_send_much_do_not_stop_it(start, tmp_path):
    path = tmp_path / "stats.sock"
    start("gates:app", "--uwsgi-stats", f"unix:{path}")
    eventually(path.exists, what="the socket")
    idle = []
    for _ in range(5):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        idle.append(connection)
    began = time.monotonic()
    assert document(str(path))["workers"]
    assert time.monotonic() - began < 5
    for connection in idle:
        connection.close()


def test_uwsgitop_shows_the_workers(start):
    if not UWSGITOP.exists():
        require_module("uwsgitop")
    port = free_port()
    server = start("gates:app", "--uwsgi-stats", f"127.0.0.1:{port}", workers=2)
    server.get("/")
    pids = [worker["pid"] for worker in document(("127.0.0.1", port))["workers"]]
    assert len(pids) == 2
    screen = _screen_of_uwsgitop(f"127.0.0.1:{port}", pids)
    assert "lockgate-" in screen
    assert "idle" in screen


def _screen_of_uwsgitop(address, pids):
    """What it writes to its terminal until it has shown these processes."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm", LINES="40", COLUMNS="160")
        os.execv(sys.executable, [sys.executable, str(UWSGITOP), address])
    shown = ""
    try:
        until = time.monotonic() + 15
        while time.monotonic() < until and not all(str(pid) in shown for pid in pids):
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    shown += os.read(terminal, 65536).decode("utf-8", "replace")
                except OSError:
                    break
        os.write(terminal, b"q")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(terminal)
    assert all(str(pid) in shown for pid in pids), shown
    return shown
