"""nginx in front of a unix socket, run as its user on Debian."""

import grp
import os
import pwd
import shutil
import subprocess

import pytest
from harness import Wire, eventually, free_port, request
from harness.other_user import open_to_others, reachable_python
from harness.requirements import require_program

CONFIGURATION = """
daemon off;
master_process on;
worker_processes 1;
user www-data;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    {temporary}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://unix:{socket};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@pytest.fixture
def nginx(tmp_path):
    """Starts nginx before a socket; gives the address at which it listens."""
    program = require_program("nginx", package="nginx-light", directories=("/usr/sbin",))
    if os.geteuid() != 0:
        pytest.skip("only root can change the user")
    started = []

    def start(socket):
        directory = tmp_path / "nginx"
        directory.mkdir()
        shutil.chown(directory, "www-data")
        port = free_port()
        text = CONFIGURATION.format(
            directory=directory,
            port=port,
            socket=socket,
            temporary="\n".join(f"{name}_temp_path {directory}/{name};" for name in TEMPORARY),
        )
        (directory / "nginx.conf").write_text(text)
        command = [program, "-p", str(directory), "-c", "nginx.conf", "-e", "error.log"]
        started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))

        def listens():
            assert started[-1].poll() is None, (directory / "error.log").read_text()
            try:
                Wire(("127.0.0.1", port)).close()
            except OSError:
                return False
            return True

        eventually(listens, what="nginx listens")
        return ("127.0.0.1", port)

    yield start
    for process in started:
        process.terminate()
        process.wait()


def ask(address):
    with Wire(address) as wire:
        wire.send(request("GET", "/", "Connection: close"))
        return wire.response()


@pytest.mark.parametrize(
    "arguments, status",
    [
        ([], 502),
        (["--group", "www-data"], 200),
        (["--user", "12345", "--group", "www-data"], 200),
        (["--umask", "0"], 200),
    ],
    ids=["by default", "with its group", "with its group and another user", "open to all"],
)
def test_nginx_reaches_a_unix_socket_where_its_group_or_all_users_may(
    start, nginx, tmp_path, arguments, status
):
    open_to_others(tmp_path)
    path = tmp_path / "app.sock"
    server = start(
        "hello:app", *arguments, bind=[f"unix:{path}"], prefix=reachable_python(tmp_path)
    )
    response = ask(nginx(path))
    assert response.status == status
    if status == 200:
        assert response.body == b"hello"
    else:
        assert "Permission denied" in (tmp_path / "nginx" / "error.log").read_text()
        assert f"only user {os.geteuid()} and members of group" in server.errors
    if "www-data" in arguments:
        group = grp.getgrnam("www-data").gr_gid
        assert f"members of group {group} can connect" in server.errors
        assert pwd.getpwnam("www-data").pw_gid == group
