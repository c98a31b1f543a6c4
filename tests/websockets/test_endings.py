"""Connections that were taken over: what bounds them and what ends them."""

import contextlib
import hashlib
import json
import select
import signal
import ssl
import time

import pytest
from harness import Truncated, eventually, request, reset
from harness.requirements import require_module

ASK = b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"


def opened(server, path="/echo"):
    """A raw connection that echoes."""
    wire = server.connect()
    wire.send(ASK % path.encode())
    head = wire.head()
    assert head.status == 101, head
    wire.send(b"ping")
    assert wire.part(4) == b"ping"
    return wire


def access_lines(server):
    return [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=["HUP", "TERM"])
def test_a_client_gets_what_is_written_after_the_end_of_its_stream(start, number):
    server = start("lasting:app", "--threads", "2", "--graceful-timeout", "10")
    with opened(server, "/writes-on") as wire:
        server.signal(number)
        assert wire.rest() == b"0,1,2,3,4,5,6,7,8,9,"
        assert not wire.was_reset
    assert server.stop() == 0
    assert "Traceback" not in server.errors


def test_a_call_that_does_not_end_is_cut_at_graceful_timeout(start):
    server = start("lasting:app", "--threads", "2", "--graceful-timeout", "1")
    with opened(server, "/never-ends") as wire:
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        wire.rest()
        server.wait(15)
        taken = time.monotonic() - began
    assert 0.9 <= taken < 8, taken


def test_a_reload_does_not_wait_for_the_old_connections(start):
    server = start("lasting:app", "--threads", "2", "--graceful-timeout", "10")
    with opened(server, "/never-ends"):
        since = len(server.errors)
        (old,) = server.workers()
        server.signal(signal.SIGHUP)

        def is_new():
            assert server.get("/hello").body == b"hello"
            return any(pid != old for pid in server.workers())

        eventually(is_new, within=8, what="another worker")

        def is_opened():
            # As long as both accept, the old worker may take this connection, and end it.
            with contextlib.suppress(Truncated), opened(server) as wire:
                wire.finish_sending()
                assert wire.rest() == b""
                return True

        eventually(is_opened, within=8, what="a connection to the new worker")
        assert "Traceback" not in server.errors[since:]


def test_a_recycled_worker_ends_its_connections(start):
    server = start("lasting:app", "--threads", "2", "--max-requests", "20")
    with opened(server, "/writes-on") as wire:
        for _ in range(25):
            assert server.get("/hello").body == b"hello"
        assert wire.rest() == b"0,1,2,3,4,5,6,7,8,9,"
    assert server.get("/hello").body == b"hello"


def test_worker_connections_bounds_them_and_a_closed_one_leaves_its_place(start):
    server = start("lasting:app", "--threads", "2", "--worker-connections", "5")
    wires = [opened(server) for _ in range(5)]
    with server.connect() as waiting:
        waiting.send(request("GET", "/hello", "Connection: close"))
        waiting.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            waiting.response()
        waiting.socket.settimeout(15)
        wires.pop().close()
        assert waiting.response().body == b"hello"
    for wire in wires:
        wire.close()


@pytest.mark.parametrize("threads", ["2", "4"])
def test_a_hello_is_answered_beside_more_connections_than_threads(start, threads):
    server = start("lasting:app", "--threads", threads)
    wires = [opened(server) for _ in range(4 * int(threads))]
    for _ in range(20):
        assert server.get("/hello").body == b"hello"
    for wire in wires:
        wire.close()


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_client_that_resets_is_one_access_line_and_no_error(start, has_begun):
    server = start(
        "lasting:app", "--threads", "2", "--access-logfile", "-", "--access-logformat", "json"
    )
    for _ in range(5):
        wire = opened(server)
        if has_begun:
            wire.send(b"x" * 100_000)
        reset(wire)
    eventually(lambda: len(access_lines(server)) == 5, what="a line for each connection")
    assert {line["status"] for line in access_lines(server)} == {101}
    assert server.get("/hello").body == b"hello"
    assert server.stop() == 0
    assert "Traceback" not in server.errors


@pytest.mark.parametrize("end", ["close", "half-close", "reset"])
@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
def test_a_client_that_has_gone_is_noticed_although_the_application_does_not_read(
    start, authority, certificate, is_secure, end
):
    flags = certificate if is_secure else []
    server = start(
        "lasting:app",
        *("--threads", "2", "--write-timeout", "1", "--access-logfile", "-"),
        *("--access-logformat", "json", *flags),
    )
    with server.connect() as wire:
        if is_secure:
            wire.socket = authority.client().wrap_socket(wire.socket, server_hostname="localhost")
        wire.send(ASK % b"/never-reads")
        assert wire.head().status == 101
        # More than the application's socket holds, but no more than the kernel receives for the
        # server: it would not receive the end behind that.
        wire.send(b"x" * 300_000)
        if end == "close":
            wire.close()
        elif end == "reset":
            reset(wire)
        else:
            wire.finish_sending()
        (line,) = eventually(lambda: access_lines(server), what="the line of the access log")
        assert line["status"] == 101
    assert server.stop() == 0
    assert "Traceback" not in server.errors


def test_the_access_log_has_the_duration_of_the_whole_connection(start):
    server = start(
        "lasting:app",
        "--threads",
        "2",
        "--access-logfile",
        "-",
        "--access-logformat",
        "%(s)s %(D)s",
    )
    began = time.monotonic()
    with opened(server) as wire:
        eventually(lambda: time.monotonic() - began > 0.6, what="the time under test")
        assert server.output == ""
        wire.finish_sending()
        wire.rest()
    line = eventually(lambda: server.output, what="the line of the access log")
    status, microseconds = line.split()
    assert status == "101"
    assert 500_000 < int(microseconds) < 10_000_000


def exchanged(tls, data):
    """Sends `data` and receives as much meanwhile.

    In one thread: until Python 3.13 an `SSLSocket` may not be read and written at once.
    """
    tls.setblocking(False)
    received, sent = bytearray(), 0
    while len(received) < len(data):
        has_moved = False
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            piece = tls.recv(1 << 18)
            assert piece, f"the stream ends after {len(received)} bytes"
            received += piece
            has_moved = True
        if sent < len(data):
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                sent += tls.send(data[sent : sent + (1 << 14)])
                has_moved = True
        if not has_moved:
            ready = select.select([tls], [tls] if sent < len(data) else [], [], 15)
            assert any(ready), f"nothing moves after {sent} bytes sent, {len(received)} received"
    return bytes(received)


def test_a_large_stream_passes_in_order_over_tls(start, authority, certificate):
    server = start("lasting:app", "--threads", "2", *certificate)
    data = b"".join(b"%08d" % number for number in range(1 << 20))
    with server.connect() as wire:
        wire.socket = authority.client().wrap_socket(wire.socket, server_hostname="localhost")
        wire.send(ASK % b"/echo")
        assert wire.head().status == 101
        got = exchanged(wire.socket, data)
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
def test_socketio_clients_come_back_after_a_reload(start, authority, certificate, is_secure):
    require_module("flask_socketio")
    require_module("socketio")
    import requests
    import socketio

    flags = certificate if is_secure else []
    server = start("socketio_chat:app", *flags)
    session = requests.Session()
    session.trust_env = False  # REQUESTS_CA_BUNDLE would replace `verify`.
    session.verify = str(authority.certfile)
    trust = {"sslopt": {"ca_certs": str(authority.certfile)}} if is_secure else {}
    client = socketio.Client(
        http_session=session, websocket_extra_options=trust, reconnection_delay=0.1
    )
    url = f"https://localhost:{server.port}" if is_secure else server.url
    said, sessions = [], []
    client.on("said", said.append)
    client.on("connect", lambda: sessions.append(client.sid))
    try:
        client.connect(url)
        eventually(lambda: client.transport() == "websocket", what="the client uses WebSocket")
        client.emit("say", "before")
        eventually(lambda: said == ["before"], what="a message before the reload")
        server.signal(signal.SIGHUP)
        eventually(lambda: len(sessions) == 2, within=20, what="the client has connected again")
        client.emit("say", "after")
        eventually(lambda: said == ["before", "after"], what="a message after the reload")
    finally:
        client.disconnect()
    assert server.stop() == 0
    assert "Traceback" not in server.errors
