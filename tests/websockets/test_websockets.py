"""WebSockets on the socket of a request: real clients, TLS, proxies, hostile clients."""

import json
import os
import re
import signal
import socket
import threading

import pytest
from harness import Wire, eventually, free_port
from harness.chromium import LEGACY
from harness.fronts import start_front
from harness.other_user import open_to_others
from harness.requirements import require_module

require_module("flask_sock")
require_module("websockets")
require_module("socketio")

import socketio  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import connect, unix_connect  # noqa: E402

ASK = (
    b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HELLO = bytes([0x81, 0x85, 0, 0, 0, 0]) + b"hello"
MESSAGES = ["hi", "x" * 200, "y" * 70_000, bytes(range(256)) * 8192]


def url(server, path):
    return f"ws://127.0.0.1:{server.port}{path}"


def opened(server, path="/echo"):
    """A raw connection after its handshake."""
    wire = server.connect()
    wire.send(ASK % path.encode())
    head = wire.head()
    assert head.status == 101, head
    return wire


def echoes(ws):
    for message in MESSAGES:
        ws.send(message)
        assert ws.recv(timeout=15) == message


def closing_of(ws):
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            ws.recv(timeout=15)
    return closed.value.rcvd.code if closed.value.rcvd else None


def lines(server):
    return [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]


def test_messages_of_any_size_pass_both_ways(start):
    server = start("upgrading:app", workers=1)
    with connect(url(server, "/echo"), max_size=None) as ws:
        echoes(ws)
    assert ws.close_code == 1000


def test_messages_pass_over_tls(start, authority, certificate):
    server = start("upgrading:app", *certificate, workers=1)
    address = f"wss://localhost:{server.port}/echo"
    with connect(address, ssl=authority.client(), max_size=None) as ws:
        echoes(ws)
    assert ws.close_code == 1000


def test_messages_pass_over_a_unix_socket(start, tmp_path):
    path = str(tmp_path / "app.sock")
    start("upgrading:app", bind=[f"unix:{path}"], workers=1)
    with unix_connect(path, "ws://localhost/echo", max_size=None) as ws:
        echoes(ws)
    with unix_connect(path, "ws://localhost/peer") as ws:
        ws.send("who am I?")
        assert ws.recv(timeout=15) == "''"


@pytest.mark.parametrize(
    "configuration", ["nginx/http.conf", "haproxy/http.cfg", "apache/http.conf", "caddy/Caddyfile"]
)
def test_messages_pass_behind(start, tmp_path, configuration):
    path = str(tmp_path / "lockgate.sock")
    start("upgrading:app", "--umask", "0", bind=[f"unix:{path}"], workers=1)
    if os.geteuid() == 0:
        open_to_others(tmp_path)
    front = start_front(tmp_path / "front", configuration, path)
    try:
        host, port = front.address
        with connect(f"ws://{host}:{port}/echo", max_size=None) as ws:
            echoes(ws)
        assert ws.close_code == 1000
    finally:
        front.end()


def test_the_peer_is_the_client(start):
    server = start("upgrading:app", workers=1)
    with connect(url(server, "/peer")) as ws:
        port = ws.socket.getsockname()[1]
        ws.send("who am I?")
        assert ws.recv(timeout=15) == f"('127.0.0.1', {port})"


def test_a_chat_of_flask_socketio_begins_with_polling_and_goes_over_to_websocket(start):
    server = start("socketio_chat:app", workers=1)
    clients = [socketio.Client() for _ in range(3)]
    said = []
    try:
        for client in clients:
            client.on("said", said.append)
            client.connect(server.url)

        def are_upgraded():
            return {client.transport() for client in clients} == {"websocket"}

        eventually(are_upgraded, within=10, what="all clients use WebSocket")
        for number in range(60):
            clients[number % 3].emit("say", number)
        eventually(lambda: len(said) == 180, within=10, what="each message reaches each client")
        assert sorted(said) == sorted(list(range(60)) * 3)
    finally:
        for client in clients:
            client.disconnect()
    assert server.stop() == 0
    assert "Traceback" not in server.errors


@pytest.mark.parametrize(
    ("ending", "logs"),
    [("return", 0), ("stop", 0), ("reset", 0), ("respond", 0), ("fail", 1)],
)
def test_the_end_of_the_call_ends_the_connection(start, ending, logs):
    server = start("upgrading:app", workers=1)
    with opened(server, f"/raw/{ending}") as wire:
        wire.send(b"some ", b"bytes ")
        assert wire.part(11) == b"some bytes "
        wire.finish_sending()
        assert wire.rest() == b"the end"
    assert server.stop() == 0
    assert server.errors.count("Traceback") == logs
    assert server.errors.count("RuntimeError: the application") == logs


def test_a_failing_application_is_logged_and_its_client_sees_the_end(start):
    server = start("upgrading:app", workers=1)
    with connect(url(server, "/failing")) as ws:
        assert ws.recv(timeout=15) == "before"
        assert closing_of(ws) is None
    server.wait_for_log("RuntimeError: the application has failed")


@pytest.mark.parametrize(
    ("version", "fields", "keys"),
    [
        ("1.1", "Connection: upgrade\r\nUpgrade: websocket", "gunicorn.socket,werkzeug.socket"),
        ("1.1", "Connection: keep-alive, Upgrade\r\nUpgrade: x", "gunicorn.socket,werkzeug.socket"),
        ("1.1", "Connection: keep-alive\r\nUpgrade: websocket", ""),
        ("1.1", "Connection: upgrade", ""),
        ("1.0", "Connection: upgrade\r\nUpgrade: websocket", ""),
    ],
)
def test_a_request_that_does_not_use_its_socket_gets_its_response(shared, version, fields, keys):
    server = shared("upgrading:app", workers=1)
    with server.connect() as wire:
        for _ in range(2):
            wire.send(f"GET /keys HTTP/{version}\r\nHost: a\r\n{fields}\r\n\r\n".encode())
            response = wire.response()
            assert (response.status, response.body) == (200, keys.encode())
            if version == "1.0":
                break


def test_a_socket_is_that_of_its_own_request_only(start):
    server = start("upgrading:app", workers=1)
    with opened(server, "/raw/return") as wire:
        wire.finish_sending()
        assert wire.rest() == b"the end"
    with server.connect() as wire:
        wire.send(ASK % b"/late")
        response = wire.response()
    assert response.body == b"begun OSError,ConnectionError"


def test_with_one_thread_there_is_no_socket_and_one_warning(start):
    server = start("upgrading:app", "--threads", "1", workers=1)
    for _ in range(3):
        with server.connect() as wire:
            wire.send(ASK % b"/keys")
            assert wire.response().body == b""
    server.wait_for_log("gets no socket for it, because threads = 1")
    assert server.errors.count("because threads = 1") == 1


def test_websockets_leave_threads_for_requests_and_their_threads_end(start):
    server = start("upgrading:app", "--threads", "2", workers=1)
    before = int(server.get("/threads").body)
    wires = [opened(server) for _ in range(50)]
    for wire in wires:
        wire.send(HELLO)
        assert wire.part(7) == b"\x81\x05hello"
    assert int(server.get("/threads").body) >= 100
    for wire in wires:
        wire.close()

    def are_few():
        return int(server.get("/threads").body) <= before + 2

    eventually(are_few, within=10, what="the threads of closed connections end")


def test_the_switch_interval_is_longer_while_many_threads_may_wait_for_the_gil(start):
    server = start("upgrading:app", workers=1)

    def interval():
        return float(server.get("/switch-interval").body)

    before = interval()
    wires = [opened(server, "/raw/return") for _ in range(200)]
    assert interval() == pytest.approx(256 * 20e-6)
    for wire in wires:
        wire.close()
    eventually(lambda: interval() == before, within=10, what="the interval is as before")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_client_gets_a_close_frame_when_its_worker_ends(start, number):
    server = start("upgrading:app", workers=1)
    clients = [connect(url(server, "/echo"), **LEGACY) for _ in range(10)]
    for ws in clients:
        ws.send("hi")
        assert ws.recv(timeout=15) == "hi"
    server.signal(number)
    assert [closing_of(ws) for ws in clients] == [1001] * 10
    if number == signal.SIGHUP:
        with connect(url(server, "/echo"), max_size=None) as ws:
            echoes(ws)
    assert server.stop() == 0
    assert "Traceback" not in server.errors


def test_within_a_frame_the_application_sees_the_end_alone(start):
    server = start("upgrading:app", workers=1)
    with opened(server, "/raw/return") as wire:
        wire.send(HELLO[:8])
        assert wire.part(8) == HELLO[:8]
        server.signal(signal.SIGTERM)
        assert wire.rest() == b"the end"
    assert server.wait() == 0


def test_the_access_log_has_the_status_the_bytes_and_the_time(start):
    server = start(
        "upgrading:app", "--access-logfile", "-", "--access-logformat", "json", workers=1
    )
    with opened(server, "/raw/return") as wire:
        wire.send(b"0123456789")
        assert wire.part(10) == b"0123456789"
        wire.finish_sending()
        assert wire.rest() == b"the end"
    eventually(lambda: lines(server), within=10, what="the line of the access log")
    [line] = lines(server)
    assert (line["status"], line["path"]) == (101, "/raw/return")
    assert re.search(r'"[a-z_]*bytes[a-z_]*": ?17\b', json.dumps(line)), line


def test_a_stop_waits_for_what_a_call_does_after_its_connection(start):
    server = start("upgrading:app", workers=1)
    with opened(server, "/raw/slow") as wire:
        wire.finish_sending()
        assert wire.part(7) == b"the end"
        server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "RuntimeError: close() has failed" in server.errors


def test_request_timeout_and_slow_request_do_not_apply(start):
    limits = ["--request-timeout", "1", "--slow-request", "0.2"]
    server = start("upgrading:app", *limits, workers=1)
    with opened(server) as wire, connect(url(server, "/echo")) as other:
        # Other requests pass while both of its limits run out.
        for _ in range(30):
            assert server.get("/").status == 200
            other.send("hi")
            assert other.recv(timeout=15) == "hi"
            threading.Event().wait(0.1)
        wire.send(HELLO)
        assert wire.part(7) == b"\x81\x05hello"
    assert server.stop() == 0
    assert "/echo" not in server.errors


def test_a_client_that_reads_nothing_is_closed_and_others_are_not_harmed(start):
    log = ["--access-logfile", "-", "--access-logformat", "json"]
    server = start("upgrading:app", "--write-timeout", "1", *log, workers=1)
    wire = server.connect()
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.send(ASK % b"/flood")
    with connect(url(server, "/echo")) as ws:

        def is_closed():
            ws.send("hi")
            assert ws.recv(timeout=15) == "hi"
            return [line for line in lines(server) if line["path"] == "/flood"]

        [line] = eventually(is_closed, within=15, what="the connection of the silent reader ends")
    assert line["status"] == 101
    wire.close()


def test_silent_and_half_open_clients_cost_nothing_but_their_places(start):
    server = start("upgrading:app", "--worker-connections", "100", workers=1)
    silent = [opened(server) for _ in range(40)]
    for wire in silent[::2]:
        wire.send(HELLO[:3])
    for _ in range(20):
        assert server.get("/").body == b"hello"
    for wire in silent:
        wire.close()
    with connect(url(server, "/echo"), max_size=None) as ws:
        echoes(ws)


def test_over_http2_there_is_no_socket(start, authority, certificate):
    httpx = pytest.importorskip("httpx")
    port = free_port()
    server = start("upgrading:app", *certificate, bind=[f"https://127.0.0.1:{port}"], workers=1)
    assert server.process.poll() is None
    with httpx.Client(http2=True, verify=authority.client()) as client:
        response = client.get(f"https://localhost:{port}/keys")
    assert (response.http_version, response.text) == ("HTTP/2", "")


def test_bytes_after_the_request_reach_the_application(start):
    server = start("upgrading:app", workers=1)
    with Wire(("127.0.0.1", server.port)) as wire:
        wire.send(ASK % b"/echo" + HELLO)
        assert wire.head().status == 101
        assert wire.part(7) == b"\x81\x05hello"
