"""Where `lockgate dev` listens, and what it says when a port is in use."""

import os
import socket
import subprocess
import sys

import pytest
from harness.dev import DevServer, project
from lockgate.dev import address

APP = """def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.url_scheme"].encode()]
"""


@pytest.fixture
def develop(tmp_path):
    started = []

    def start(*arguments, **options):
        directory = tmp_path / f"project{len(started)}"
        directory.mkdir()
        server = DevServer(project(directory, {"app.py": APP}), *arguments, port=False, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()


@pytest.mark.parametrize(
    ("bind", "host", "port", "environment", "expected"),
    [
        ([], None, None, {}, ["127.0.0.1:8000"]),
        ([], None, 5000, {}, ["127.0.0.1:5000"]),
        ([], "0.0.0.0", None, {"PORT": "81"}, ["0.0.0.0:81"]),
        ([], "::1", 1, {}, ["[::1]:1"]),
        ([], None, None, {"FLASK_RUN_PORT": "82", "PORT": "81"}, ["127.0.0.1:82"]),
        ([], None, 0, {"FLASK_RUN_PORT": "82"}, ["127.0.0.1:0"]),
        ([], None, None, {"PORT": "tcp://10.0.0.1:80"}, ["127.0.0.1:8000"]),
        (["unix:x", "h:1"], None, None, {"PORT": "81"}, ["unix:x", "h:1"]),
    ],
)
def test_flags_count_more_than_variables(bind, host, port, environment, expected):
    assert address.wanted(bind, host, port, environment) == expected


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("localhost", ("localhost", 8000)),
        (":81", ("0.0.0.0", 81)),
        ("[::1]:82", ("::1", 82)),
        ("https://h:83/", ("h", 83)),
        ("unix:/run/x", None),
        ("fd://3", None),
    ],
)
def test_tcp_addresses_are_opened_here_and_others_by_the_server(text, place):
    assert address.tcp_place(text) == place


@pytest.mark.parametrize(
    ("place", "url"),
    [
        (("http", "0.0.0.0", 80), "http://127.0.0.1:80"),
        (("http", "::", 80), "http://[::1]:80"),
        (("https", "127.0.0.1", 80), "https://localhost:80"),
        (("http", "host", 80), "http://host:80"),
    ],
)
def test_urls_are_for_a_browser_on_this_machine(place, url):
    assert address.url(*place) == url


def test_a_port_in_use_names_the_process_and_another_port(develop):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import socket, sys; s = socket.create_server(('127.0.0.1', 0));"
            "print(s.getsockname()[1], flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        port = int(holder.stdout.readline())
        server = develop("--port", str(port))
        assert server.process.wait(30) == 1
        holder.stdin.close()
    lines = server.errors.splitlines()
    assert f"lockgate: port {port} of 127.0.0.1 is in use" in lines
    assert any(line.startswith(f"  by process {holder.pid}: {sys.executable}") for line in lines)
    assert f"  hint: end it with `kill {holder.pid}`" in lines
    assert any("choose another port: lockgate dev --port" in line for line in lines)


def test_a_proposed_port_is_free():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        proposed = address.free_port("127.0.0.1", port)
    assert proposed is not None and proposed > port


def test_a_second_server_names_the_supervisor_of_the_first(develop):
    first = develop("--port", "0")
    assert first.get().text == "http"
    second = develop("--port", first.url.rpartition(":")[2])
    assert second.process.wait(30) == 1
    assert f"by process {first.process.pid}: " in second.errors
    assert second.errors.count("by process") == 1


def test_it_listens_at_every_address_of_a_name_and_at_a_path(develop):
    server = develop("--bind", "localhost:0", "--bind", "unix:here.sock")
    assert server.get().text == "http"
    path = server.directory / "here.sock"
    with socket.socket(socket.AF_UNIX) as client:
        os.chdir(path.parent)  # the path of the test may be too long for an address
        client.connect("here.sock")


def test_adhoc_is_a_certificate_that_stays(develop, tmp_path):
    variables = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    seen = []
    for _ in range(2):
        server = develop("--port", "0", "--cert", "adhoc", environment=variables)
        port = int(server.url.rpartition(":")[2])
        assert server.url == f"https://localhost:{port}"
        seen.append(certificate_at(port))
        assert server.interrupt() == 0
    assert seen[0] == seen[1]


def test_a_certificate_of_a_file_is_served(develop, authority):
    certfile, keyfile = authority.issue("localhost", "DNS:localhost", "IP:127.0.0.1")
    server = develop("--port", "0", "--cert", str(certfile), "--key", str(keyfile))
    port = int(server.url.rpartition(":")[2])
    assert "BEGIN CERTIFICATE" in certificate_at(port)


def certificate_at(port):
    import ssl

    return ssl.get_server_certificate(("127.0.0.1", port), timeout=30)
