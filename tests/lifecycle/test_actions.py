"""Actions through the admin listener: which users may request them, and which may not."""

import http.server
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading

import pytest
from harness import Wire, eventually, free_port, request, run
from harness.admin import Admin
from harness.other_user import open_to_others, reachable_python
from harness.process import clean_environment, is_alive

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
ACTION = "Lockgate-Action: test"


def post(admin, action, *headers):
    with Wire(str(admin.path)) as wire:
        fields = (*headers, "Connection: close")
        wire.send(request("POST", f"/actions/{action}", *fields, host="localhost"))
        return wire.response("POST")


@pytest.fixture
def impostor():
    """Answers as Lockgate's admin listener would, and names any process. Gives its address."""
    servers = []

    def start(pid, address):
        class Handler(http.server.BaseHTTPRequestHandler):
            def reply(self, status):
                body = json.dumps(
                    {"name": "lockgate", "version": "0", "pid": pid, "workers": [],
                     "reload": {"begun": 0, "ended": 0, "failed": 0, "ready": 0, "wanted": 0}}
                ).encode()  # fmt: skip
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.reply(200)

            def do_POST(self):
                self.reply(202)

            def log_message(self, *arguments):
                pass

            def address_string(self):
                return "client"

        class OnUnixSocket(socketserver.ThreadingUnixStreamServer):
            pass

        if isinstance(address, tuple):
            server = http.server.ThreadingHTTPServer(address, Handler)
        else:
            server = OnUnixSocket(str(address), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("place", ["unix", "tcp"])
@pytest.mark.parametrize("is_group", [False, True], ids=["a process", "a group"])
def test_the_process_that_answers_cannot_make_ctl_signal_another_process(
    impostor, tmp_path, place, is_group
):
    victim = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        if place == "unix":
            target, address = tmp_path / "admin.sock", f"unix:{tmp_path}/admin.sock"
        else:
            target = ("127.0.0.1", free_port())
            address = f"127.0.0.1:{target[1]}"
        impostor(-victim.pid if is_group else victim.pid, target)
        for action in (["shutdown"], ["upgrade"], ["reload"], ["workers", "-3"]):
            said = run("ctl", "--admin", address, *action)
            assert "Traceback" not in said.stderr, said
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_an_action_needs_its_header_and_no_origin(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app", workers=1)
    (worker,) = eventually(admin.workers, what="the worker serves")
    assert post(admin, "reload").status == 400
    assert post(admin, "reload", ACTION, "Origin: http://evil.example").status == 403
    assert post(admin, "no-such-thing", ACTION).status == 404
    assert post(admin, "workers?change=0", ACTION).status == 400
    refused = admin.ask("/actions/shutdown")
    assert (refused.status, refused.header("Allow")) == (405, "POST")
    assert admin.workers() == [worker]
    assert admin.status()["reload"]["begun"] == 0
    accepted = post(admin, "workers?change=1", ACTION)
    assert accepted.status == 202
    assert json.loads(accepted.body)["pid"] == admin.server.pid
    eventually(lambda: len(admin.workers()) == 2, what="two workers")
    assert f"user {os.geteuid()} asks for workers +1" in admin.server.errors


def test_no_name_that_leads_to_this_machine_lets_a_page_act(start):
    port = free_port()
    server = start("hello:app", "--admin-bind", f"127.0.0.1:{port}")
    with Wire(("127.0.0.1", port)) as wire:
        wire.send(
            b"POST /actions/shutdown HTTP/1.1\r\nHost: rebound.example\r\nContent-Length: 0\r\n"
            b"Lockgate-Action: x\r\nConnection: close\r\n\r\n"
        )
        assert wire.response("POST").status == 403
    with Wire(("127.0.0.1", port)) as wire:
        # What a browser sends first when a page wants a header of its own.
        wire.send(
            f"OPTIONS /actions/shutdown HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n"
            "Access-Control-Request-Headers: lockgate-action\r\nConnection: close\r\n\r\n".encode()
        )
        answer = wire.response("OPTIONS")
    assert answer.status == 403
    assert answer.header("Access-Control-Allow-Origin") is None
    assert server.get("/").status == 200


def test_ctl_acts_over_tcp_as_well(start):
    port = free_port()
    server = start("hello:app", "--admin-bind", f"127.0.0.1:{port}", workers=1)
    said = run("ctl", "--admin", f"127.0.0.1:{port}", "workers", "+2")
    assert (said.returncode, said.stdout) == (0, f"pid {server.pid}: asked for 2 more workers\n")
    server.wait_for_log(r"workers? (is|are) ready.*\n(.*\n)*.*3 workers are ready|3 workers")
    said = run("ctl", "--admin", f"127.0.0.1:{port}", "reload", "--wait")
    assert said.returncode == 0 and "3/3 ready" in said.stdout, said
    said = run("ctl", "--admin", f"127.0.0.1:{port}", "shutdown")
    assert said.returncode == 0 and f"pid {server.pid}" in said.stdout, said
    assert server.wait() == 0


def as_user(directory, user, *command):
    """A command that runs as another user and finds Python there."""
    identity = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]
    return [*reachable_python(directory), *identity, *command]


@needs_root
@pytest.mark.parametrize("place", ["unix", "tcp"])
def test_another_user_may_look_and_not_act(start, tmp_path, place):
    """The workers' user included: an application that was taken over stops no server."""
    open_to_others(tmp_path)
    path = tmp_path / "admin.sock"
    port = free_port()
    address = f"unix:{path}" if place == "unix" else f"127.0.0.1:{port}"
    (tmp_path / "prefix").mkdir()
    server = start(
        "hello:app", "--admin-bind", address, "--umask", "0", "--user", "12345", "--group",
        "12345", prefix=reachable_python(tmp_path / "prefix"), workers=1,
    )  # fmt: skip
    workers = server.workers()
    for user in (12345, 12346):
        directory = tmp_path / str(user)
        directory.mkdir()
        ctl = as_user(directory, user, sys.executable, "-m", "lockgate", "ctl", "--admin", address)

        def ctl_as_user(*arguments, ctl=ctl):
            return subprocess.run(
                [*ctl, *arguments], capture_output=True, text=True, check=False,
                env=clean_environment(), timeout=20,
            )  # fmt: skip

        assert ctl_as_user("status").returncode == 0
        for action in (["shutdown"], ["reload"], ["workers", "+1"], ["upgrade"], ["reopen"]):
            said = ctl_as_user(*action)
            assert said.returncode == 1, said
            assert f"user {user} may not do this: root and user 0" in said.stderr, said
    assert server.errors.count("may not ask for shutdown: refused") == 2
    assert server.workers() == workers
    assert server.get("/").status == 200
    assert run("ctl", "--admin", address, "workers", "+1").returncode == 0


@needs_root
def test_the_user_of_the_supervisor_may_act(start, tmp_path):
    open_to_others(tmp_path)
    tmp_path.chmod(0o777)
    path = tmp_path / "admin.sock"
    (tmp_path / "prefix").mkdir()
    server = start(
        "hello:app", "--admin-bind", f"unix:{path}", "--umask", "0",
        prefix=as_user(tmp_path / "prefix", 12345), workers=1,
    )  # fmt: skip
    (tmp_path / "ctl").mkdir()
    command = as_user(tmp_path / "ctl", 12345, sys.executable, "-m", "lockgate", "ctl")
    command += ["--admin", f"unix:{path}", "shutdown"]
    said = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    assert said.returncode == 0, said
    assert server.wait() == 0


HIT_AND_RUN = """
import socket, sys
for number in range(50):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
        connection.sendall(
            b"POST /actions/workers?change=1 HTTP/1.1\\r\\nHost: localhost\\r\\n"
            b"Lockgate-Action: x\\r\\nContent-Length: 0\\r\\n\\r\\n"
        )
        if number % 2:
            connection.shutdown(socket.SHUT_RDWR)
"""


@needs_root
def test_a_connection_that_its_owner_has_closed_is_not_roots(start, tmp_path):
    """The kernel's table of connections names user 0 for a socket without a process."""
    open_to_others(tmp_path)
    port = free_port()
    server = start("hello:app", "--admin-bind", f"127.0.0.1:{port}", workers=1)
    workers = server.workers()
    attack = as_user(tmp_path, 12345, sys.executable, "-c", HIT_AND_RUN, str(port))
    subprocess.run(attack, check=True, timeout=60)
    # Answered after all of those: they have been read.
    assert run("ctl", "--admin", f"127.0.0.1:{port}", "status").returncode == 0
    assert server.workers() == workers
    assert "asks for workers" not in server.errors


def test_an_admin_process_that_is_stopped_is_replaced(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app", workers=1)
    (worker,) = eventually(admin.workers, what="the worker serves")
    (stopped,) = set(admin.server.workers()) - {worker}
    os.kill(stopped, signal.SIGSTOP)
    line = admin.server.wait_for_log(
        rf"admin process \(pid {stopped}\) has sent no heartbeat for \d+ s", within=30
    )
    assert line
    assert admin.ask("/healthz").status == 200
    eventually(lambda: not is_alive(stopped), what="the stopped one is gone")
    assert admin.ctl("workers", "+1").returncode == 0
    eventually(lambda: len(admin.workers()) == 2, what="the new one passes actions on")


def test_an_action_while_the_admin_process_is_replaced_is_not_lost_unseen(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app", workers=1)
    (worker,) = eventually(admin.workers, what="the worker serves")
    (before,) = set(admin.server.workers()) - {worker}
    os.kill(before, signal.SIGKILL)
    said = admin.ctl("workers", "+1")
    if said.returncode == 0:
        eventually(lambda: len(admin.workers()) == 2, what="two workers")
    else:
        assert "no answer" in said.stderr or "try again" in said.stderr, said


def test_ctl_reports_a_socket_without_a_listener(tmp_path):
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    said = run("ctl", "--admin", f"unix:{path}", "shutdown")
    assert said.returncode == 1 and "is the server running" in said.stderr, said
