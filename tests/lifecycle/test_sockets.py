"""Where the server listens."""

import re
import socket
import stat
import subprocess

import pytest
from harness import Wire, free_port, request, run


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_the_log_says_where_it_listens_and_when_it_is_ready(start):
    server = start("hello:app")
    text = server.errors
    listening = text.index(f"listening at http://127.0.0.1:{server.port}")
    assert re.search(r"\bready\b", text[listening:])


def test_a_unix_socket(start, tmp_path):
    path = tmp_path / "lockgate.sock"
    server = start("environment:app", bind=[f"unix:{path}"])
    server.address = str(path)
    response = server.get("/over-unix")
    assert b'"PATH_INFO": "/over-unix"' in response.body
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert path.stat().st_mode & 0o007 == 0, "others may not connect"
    assert server.stop() == 0
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(start, tmp_path):
    path = tmp_path / "lockgate.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = start("hello:app", bind=[f"unix:{path}"])
    server.address = str(path)
    assert server.get("/").body == b"hello"
    second = run("hello:app", "-b", f"unix:{path}")
    assert second.returncode == 1 and str(path) in second.stderr
    assert server.get("/").body == b"hello"


def test_the_access_log_of_a_unix_socket_has_a_dash_for_the_client(start, tmp_path):
    path = tmp_path / "lockgate.sock"
    server = start("hello:app", "--access-logfile", "-", bind=[f"unix:{path}"])
    server.address = str(path)
    server.get("/")
    assert server.stop() == 0
    assert server.output.startswith("- - - [")


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_an_ipv6_address(start):
    port = free_port()
    server = start("environment:app", bind=[f"[::1]:{port}"])
    server.address = ("::1", port)
    response = server.get("/")
    assert b'"REMOTE_ADDR": "::1"' in response.body
    assert f"http://[::1]:{port}" in server.errors


def test_two_addresses_at_once(start, tmp_path):
    port, path = free_port(), str(tmp_path / "lockgate.sock")
    start("hello:app", bind=[f"127.0.0.1:{port}", f"unix:{path}"])
    for address in (("127.0.0.1", port), path):
        with Wire(address) as wire:
            wire.send(request("GET", "/", "Connection: close"))
            assert wire.response().body == b"hello"


def test_a_port_in_use_is_exit_1_with_the_address(start):
    server = start("hello:app")
    second = run("hello:app", "-b", f"127.0.0.1:{server.port}")
    assert second.returncode == 1
    assert f"127.0.0.1:{server.port}" in second.stderr and "in use" in second.stderr
    assert "Traceback" not in second.stderr and "panicked" not in second.stderr
    assert server.get("/").body == b"hello"


def test_the_port_is_free_again_at_once_after_a_stop(start):
    server = start("hello:app")
    with server.connect() as wire:
        wire.send(request("GET", "/"))
        wire.response()
        assert server.stop() == 0
    again = start("hello:app", bind=[f"127.0.0.1:{server.port}"])
    again.address = server.address
    assert again.get("/").body == b"hello"


def test_children_of_the_application_do_not_inherit_the_listener(start):
    server = start("spawning:app")
    pid = int(server.get("/spawn").body)
    listing = subprocess.run(
        ["ls", "-l", f"/proc/{pid}/fd"], capture_output=True, text=True, check=False
    )
    assert server.get("/reap").body == b"reaped"
    assert listing.returncode == 0
    assert "socket:" not in listing.stdout, listing.stdout
