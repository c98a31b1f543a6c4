"""WebSockets that the server holds: a real client, an application with gripcontrol's helpers."""

import contextlib
import json
import signal
import socket
import ssl
import time

import pytest
from harness import eventually
from harness.requirements import require_module

require_module("gripcontrol")
require_module("websockets")

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ARGUMENTS = ("--push", "--websocket-over-http", "/ws/", "--threads", "2")


@pytest.fixture
def server(start):
    return start("held_chat:app", *ARGUMENTS)


def url(server, path="/ws/echo"):
    return f"ws://127.0.0.1:{server.port}{path}"


def opened(server, path="/ws/echo"):
    """A raw connection after its handshake."""
    wire = server.connect()
    wire.send(HANDSHAKE % path.encode())
    head = wire.head()
    assert head.status == 101, head
    return wire


def frame(opcode, payload, *, final=True):
    """A frame of a client, masked with zero."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    else:
        length = bytes([0x80 | 126]) + size.to_bytes(2, "big")
    return bytes([0x80 * final | opcode]) + length + bytes(4) + payload


def publish(server, channel, content=None, **fields):
    body = json.dumps({"channel": channel, "content": content, **fields}).encode()
    with server.connect() as wire:
        wire.send(b"POST /publish HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        wire.send(body)
        assert wire.response().status == 204


def seen(server):
    """The events that the application has had: connection, type, content."""
    return json.loads(server.get("/seen").body)


def saw(server, kind):
    eventually(lambda: any(one[1] == kind for one in seen(server)), what=f"the event {kind}")


def closing_of(ws):
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            ws.recv(timeout=20)
    return closed.value.rcvd.code if closed.value.rcvd else None


def test_messages_of_all_kinds_come_back(server):
    with connect(url(server)) as ws:
        for message in ["hi", "", "ü" * 300, b"", bytes(range(256)) * 100, "x" * 60_000]:
            ws.send(message)
            assert ws.recv(timeout=20) == message
    saw(server, "CLOSE")
    ids = {connection for connection, _, _ in seen(server)}
    assert len(ids) == 1 and len(ids.pop()) == 32


def test_the_answer_to_open_is_that_to_the_handshake(server):
    with connect(url(server), subprotocols=["other", "chat"]) as ws:
        assert ws.subprotocol == "chat"
        assert ws.response.headers["Set-Cookie"] == "a=b"
        assert "Sec-WebSocket-Extensions" not in ws.response.headers
        assert "Content-Type" not in ws.response.headers


def test_a_refusal_has_the_applications_status_and_body(server):
    with pytest.raises(InvalidStatus) as refused:
        connect(url(server, "/ws/forbidden"))
    response = refused.value.response
    assert (response.status_code, response.body) == (401, b"who are you?")
    assert response.headers["X-Why"] == "secret"
    with pytest.raises(InvalidStatus) as refused:
        connect(url(server, "/ws/unaccepted"))
    assert refused.value.response.status_code == 403


def test_other_requests_below_the_prefix_reach_the_application(server):
    assert server.get("/ws/echo").body == b"hello"
    head = b"GET /ws/echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    with server.connect() as wire:
        wire.send(head)
        assert wire.response().body == b"hello", "not a valid handshake"


def test_a_client_cannot_send_events_or_values_of_its_own(server):
    body = b"OPEN\r\n"
    with server.connect() as wire:
        wire.send(
            b"POST /ws/echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/websocket-events\r\n"
            b"Connection-Id: 1\r\nMeta-User: root\r\nContent-Length: %d\r\n\r\n" % len(body),
            body,
        )
        assert wire.response().status == 403
    headers = {"Meta-User": "root", "Connection-Id": "1"}
    with connect(url(server), additional_headers=headers) as ws:
        for sent, answer in [
            ("whoami", "no name"),
            ("name alice", "named alice"),
            ("whoami", "alice"),
            ("name ", "named "),
            ("whoami", "no name"),
        ]:
            ws.send(sent)
            assert ws.recv(timeout=20) == answer
    assert "1" not in {connection for connection, _, _ in seen(server)}


def test_fields_of_the_handshake_go_with_each_request(server):
    with connect(url(server), additional_headers={"Cookie": "session=1"}) as ws:
        ws.send("cookie")
        assert ws.recv(timeout=20) == "session=1"


@pytest.mark.parametrize("workers", ["1", "3"])
def test_what_is_published_reaches_the_websockets_of_all_workers(start, workers):
    server = start("held_chat:app", *ARGUMENTS, "--workers", workers)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(connect(url(server))) for _ in range(9)]
        for ws in sockets:
            ws.send("subscribe news")
            ws.send("done")
            assert ws.recv(timeout=20) == "done"
        publish(server, "other", "not for them")
        publish(server, "news", "ü")
        publish(server, "news", formats={"ws-message": {"content-bin": "AP8="}})
        for ws in sockets:
            assert [ws.recv(timeout=20), ws.recv(timeout=20)] == ["ü", b"\x00\xff"]
        sockets[0].send("unsubscribe news")
        sockets[0].send("done")
        assert sockets[0].recv(timeout=20) == "done"
        publish(server, "news", formats={"ws-message": {"action": "close", "code": 4001}})
        assert closing_of(sockets[1]) == 4001
        sockets[0].send("still")
        assert sockets[0].recv(timeout=20) == "still"


def test_missed_messages_come_first(server):
    for number in range(4):
        publish(server, "news", f"m{number}", id=str(number))
    with connect(url(server)) as ws:
        ws.send("subscribe news 1")
        assert [ws.recv(timeout=20), ws.recv(timeout=20)] == ["m2", "m3"]
        publish(server, "news", "m4", id="4")
        assert ws.recv(timeout=20) == "m4"


def test_an_idle_connection_gets_its_keep_alive(server):
    with connect(url(server)) as ws:
        ws.send("keep-alive")
        assert [ws.recv(timeout=20), ws.recv(timeout=20)] == ["{}", "{}"]


def test_an_application_is_asked_although_nothing_happens(server):
    with connect(url(server, "/ws/checked")):
        saw(server, "nothing")


def test_a_detached_connection_only_receives(server):
    with connect(url(server)) as ws:
        ws.send("subscribe news")
        ws.send("detach")
        eventually(lambda: len(seen(server)) == 3, what="three events")
        ws.send("unheard")
        publish(server, "news", "heard")
        assert ws.recv(timeout=20) == "heard"
        assert closing_of_after_close(ws) == 1000
    assert len(seen(server)) == 3


def closing_of_after_close(ws):
    ws.close()
    return ws.protocol.close_rcvd.code


@pytest.mark.parametrize(
    ("command", "code"), [("close 3001", 3001), ("disconnect", None), ("fail now", 1011)]
)
def test_the_application_ends_a_connection(server, command, code):
    with connect(url(server)) as ws:
        ws.send(command)
        assert closing_of(ws) == code
    if code == 1011:
        saw(server, "CLOSE")
        assert "closed the WebSocket at /ws/echo: the application's answer has the status 500" in (
            server.errors
        )
    else:
        assert [kind for _, kind, _ in seen(server)] == ["OPEN", "TEXT"]


def test_a_connection_that_is_cut_is_a_disconnect(server):
    with opened(server) as wire:
        wire.send(frame(1, b"half of a message")[:9])
    saw(server, "DISCONNECT")


def test_a_client_that_leaves_during_the_handshake_is_a_disconnect(server):
    with server.connect() as wire:
        wire.send(HANDSHAKE % b"/ws/slow")
        saw(server, "OPEN")
    saw(server, "DISCONNECT")
    assert server.stop() == 0


def test_messages_that_follow_the_handshake_at_once_are_kept(server):
    with server.connect() as wire:
        wire.send(HANDSHAKE % b"/ws/slow" + frame(1, b"early"))
        wire.send(frame(1, b"late"))
        assert wire.head().status == 101
        assert wire.part(7 + 6) == b"\x81\x05early\x81\x04late"


def test_a_client_that_breaks_the_protocol_is_closed(server):
    for sent, code in [
        (frame(3, b""), 1002),
        (b"\x81\x01x", 1002),
        (frame(1, b"\xff"), 1007),
        (frame(2, b"", final=False) + frame(1, b""), 1002),
    ]:
        with opened(server) as wire:
            wire.send(sent)
            rest = wire.rest()
            assert rest[0] == 0x88 and int.from_bytes(rest[2:4], "big") == code, (sent, rest)


def test_a_message_beyond_the_limit_closes_the_connection(start):
    server = start("held_chat:app", *ARGUMENTS, "--push-message-limit", "1KiB")
    with connect(url(server)) as ws:
        ws.send("x" * 1022)
        assert ws.recv(timeout=20) == "x" * 1022
        ws.send("x" * 1025)
        assert closing_of(ws) == 1009
    with connect(url(server)) as ws:
        ws.send("large 20000")
        assert closing_of(ws) == 1011


def test_a_connection_has_no_thread_between_its_events(server):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(connect(url(server))) for _ in range(20)]
        for ws in sockets:
            ws.send("hello")
        for ws in sockets:
            assert ws.recv(timeout=20) == "hello"
        assert server.get("/seen").status == 200


def test_input_waits_while_the_application_is_asked(server):
    with opened(server) as wire:
        wire.send(frame(1, b"sleep 2"))
        saw(server, "TEXT")
        wire.socket.setblocking(False)
        sent, piece = 0, frame(1, b"x" * 50_000)
        deadline = time.monotonic() + 10
        with contextlib.suppress(BlockingIOError):
            while time.monotonic() < deadline:
                sent += wire.socket.send(piece)
        assert sent < 20_000_000, "the server has read all of it"
        wire.socket.setblocking(True)
        # The rest is read later. The client does not read, which ends its connection at some time.
        saw(server, "TEXT")


@contextlib.contextmanager
def subscribed(server):
    """A raw connection with a small receive buffer, which gets what is published in `news`."""
    with server.connect() as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        wire.send(HANDSHAKE % b"/ws/echo")
        assert wire.head().status == 101
        wire.send(frame(1, b"subscribe news"), frame(1, b"done"))
        assert wire.part(6) == b"\x81\x04done"
        yield wire


def test_a_client_that_does_not_read_is_closed(start):
    server = start("held_chat:app", *ARGUMENTS, "--write-timeout", "1")
    with subscribed(server):
        for _ in range(150):
            publish(server, "news", "x" * 60_000)
        saw(server, "DISCONNECT")


def test_a_client_that_reads_late_gets_all_messages(start):
    server = start("held_chat:app", *ARGUMENTS, "--write-timeout", "60")
    with subscribed(server) as wire:
        for number in range(150):
            publish(server, "news", f"{number:04}" + "x" * 60_000)
        for number in range(150):
            assert wire.part(4)[0] == 0x81
            assert wire.part(60_004)[:4] == b"%04d" % number
        wire.send(frame(1, b"still"))
        assert wire.part(7) == b"\x81\x05still"


def test_a_client_that_loses_messages_is_closed(start):
    arguments = ("--write-timeout", "60", "--push-memory", "1MiB")
    server = start("held_chat:app", *ARGUMENTS, *arguments)
    with subscribed(server) as wire:
        for _ in range(150):
            publish(server, "news", "x" * 60_000)
        rest = b""
        while not rest.endswith(b"\x88\x02\x03\xf5"):
            assert wire.receive(), rest[-100:]
            rest, wire.pending = (rest + wire.pending)[-4:], b""
        wire.send(frame(8, b"\x03\xf5"))
        assert wire.rest() == b""
    saw(server, "CLOSE")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=["HUP", "TERM"])
def test_a_worker_that_ends_says_so(start, number):
    server = start("held_chat:app", *ARGUMENTS, "--graceful-timeout", "6")
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(connect(url(server))) for _ in range(6)]
        server.signal(number)
        assert [closing_of(ws) for ws in sockets] == [1001] * 6
        if number == signal.SIGHUP:
            with connect(url(server)) as ws:
                ws.send("again")
                assert ws.recv(timeout=20) == "again"
    if number == signal.SIGTERM:
        assert server.wait(15) == 0


def test_the_access_log_has_one_line_at_the_end(start):
    logged = ("--access-logfile", "-", "--access-logformat", "%(m)s %(U)s %(s)s %(B)s %(D)s")
    server = start("held_chat:app", *ARGUMENTS, *logged)
    with connect(url(server)) as ws:
        ws.send("x" * 100)
        ws.recv(timeout=20)
        time.sleep(1)
    lines = eventually(
        lambda: [one for one in server.output.splitlines() if "/ws/" in one], what="a line"
    )
    ((method, _, status, size, microseconds),) = [line.split() for line in lines]
    assert (method, status) == ("GET", "101")
    assert 102 + 4 <= int(size) < 120 and int(microseconds) > 1_000_000


def test_it_works_over_tls(start, certificate, authority):
    server = start("held_chat:app", *ARGUMENTS, *certificate)
    context = ssl.create_default_context(cafile=authority.certfile)
    with connect(url(server).replace("ws:", "wss:"), ssl=context) as ws:
        ws.send("hello")
        assert ws.recv(timeout=20) == "hello"


def test_without_push_the_application_takes_the_handshake(start):
    server = start("held_chat:app", "--websocket-over-http", "/ws/")
    with pytest.raises(InvalidStatus) as refused:
        connect(url(server))
    assert refused.value.response.status_code == 200
