"""Bad input and slow clients of held responses: each is bounded and logged once; others go on.

Who may publish at the admin listener is in test_publishing_over_http.py.
"""

import contextlib
import json
import threading
from pathlib import Path

import pytest
from harness import eventually
from harness.admin import Admin
from harness.crowd import Crowd
from harness.http2 import CANCEL, Http2, headers, rst_stream, settings, window_update
from harness.process import free_port
from harness.wire import Wire, request

HELLO = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
EVENTS = b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n"
MIB = 1 << 20


def opened(server, target="/events"):
    """A client of a held stream, whose head has arrived."""
    wire = server.connect()
    wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert wire.head().status == 200
    wire.chunk()
    return wire


def publish(server, **fields):
    assert server.post("/publish", json.dumps(fields).encode()).status == 204


def pss(pid):
    """Bytes of the process alone, and its share of what it has in common with others."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Pss")


def event(number, content):
    return b"id: %d\ndata: %s\n\n" % (number, content.encode())


def test_clients_that_do_not_read_cost_no_memory(start):
    """What they do not take is in the log alone; then their streams end."""
    server = start("pushing:app", "--push", "--push-memory", "1MiB", "--write-timeout", "300")
    [worker] = server.workers()
    line = "x" * 60_000
    with opened(server) as reader, Crowd(server, 50, EVENTS, receive_buffer=65536) as crowd:
        for wire in crowd.wires:
            assert wire.head().status == 200
        for number in range(4):
            publish(server, content=line, id=str(number))
            assert reader.chunk() == event(number, line)
        before = pss(worker)
        for number in range(4, 104):
            publish(server, content=line, id=str(number))
            assert reader.chunk() == event(number, line)
        grown = pss(worker) - before
        print(f"{grown / MIB:.1f} MiB for 50 clients that have not taken 6 MB each")
        assert grown < 16 * MIB
        for wire in crowd.wires:
            received = 0
            while wire.chunk():
                received += 1
            assert received < 104, "the stream ends whole, before the last message"
    assert server.errors.count("closed a held stream of") <= 2, server.errors


def test_half_a_request_holds_nothing_up(start):
    """Before a stream, and behind one on the same connection."""
    server = start("pushing:app", "--push", "--head-timeout", "2")
    with server.connect() as half, opened(server) as pipelined, opened(server) as other:
        half.send(b"GET /events HTTP/1.1\r\nHos")
        pipelined.send(b"GET /hello HTTP/1.1\r\nHos")
        for number in range(3):
            publish(server, content="one", id=str(number))
            assert other.chunk() == pipelined.chunk() == event(number, "one")
        half.rest()
        publish(server, content="two", id="4")
        assert other.chunk() == pipelined.chunk() == event(4, "two")
        publish(server, formats={"http-stream": {"action": "close"}})
        assert pipelined.chunk() == b""
        pipelined.send(b"t: a\r\n\r\n")
        assert pipelined.response().body == b"hello"


def test_clients_that_say_nothing_are_limited_and_streams_stay(start):
    """More than five times as many as there may be; each has `head_timeout`."""
    server = start("pushing:app", "--push", "--worker-connections", "100", "--head-timeout", "1")
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(opened(server)) for _ in range(20)]
        stack.enter_context(Crowd(server, 500))
        assert server.get("/hello").body == b"hello"
        publish(server, content="still", id="1")
        for stream in streams:
            assert stream.chunk() == event(1, "still")


def test_ten_megabytes_are_refused(start, tmp_path):
    admin = Admin(start, tmp_path, "pushing:app", "--push", workers=1)
    server = admin.server
    content = "x" * 10_000_000
    with opened(server) as stream:
        body = json.dumps({"items": [{"channel": "news", "content": content}]}).encode()
        with Wire(str(admin.path)) as wire:
            head = request("POST", "/publish/", "Connection: close", body=body, host="localhost")
            wire.send_while_open(head)
            assert wire.response("POST").status == 413
        assert server.post("/publish", json.dumps({"content": content}).encode()).status == 500
        server.wait_for_log("ValueError: cannot publish to the channel")
        assert server.errors.count("Traceback") == 1
        publish(server, content="small", id="1")
        assert stream.chunk() == event(1, "small")


def test_ten_thousand_channels_are_refused_and_logged_once(start):
    server = start("pushing:app", "--push")
    for _ in range(5):
        assert server.get("/events?channels=10000").status == 500
    assert server.errors.count("cannot hold the response to /events?channels=10000") == 1
    assert "at most 100 channels are allowed" in server.errors, server.errors
    with opened(server, "/events?channels=100") as stream:
        publish(server, channel="c99", content="last", id="1")
        assert stream.chunk() == event(1, "last")


@pytest.mark.parametrize("field", ["id", "event", "prev-id"])
@pytest.mark.parametrize("value", ["a\nb", "a\rdata: forged", "a\0b"])
def test_no_id_or_name_adds_a_line_to_an_event(start, tmp_path, field, value):
    admin = Admin(start, tmp_path, "pushing:app", "--push", workers=1)
    with opened(admin.server) as stream:
        item = {"channel": "news", "content": "x", field: value}
        with Wire(str(admin.path)) as wire:
            body = json.dumps({"items": [item]}).encode()
            head = request("POST", "/publish/", "Connection: close", body=body, host="localhost")
            wire.send(head)
            response = wire.response("POST")
        assert response.status == 400
        assert b"must not contain CR, LF or NUL" in response.body
        fields = {"content": "x", field.replace("-", "_"): value}
        assert admin.server.post("/publish", json.dumps(fields).encode()).status == 500
        publish(admin.server, content="good", id="1")
        assert stream.chunk() == event(1, "good")


def test_fields_of_grip_that_a_client_sends_have_no_effect(start):
    server = start("pushing:app", "--push")
    names = ["Grip-Sig", "Grip-Hold", "Grip-Channel", "Grip-Last", "Grip-Feature", "grip_last"]
    fields = json.loads(server.get("/grip-fields", *[f"{name}: forged" for name in names]).body)
    assert list(fields) == ["HTTP_GRIP_SIG"]
    assert "forged" not in fields["HTTP_GRIP_SIG"]
    response = server.get("/hello", "Grip-Hold: stream", "Grip-Channel: news")
    assert response.body == b"hello"


def test_the_public_listener_publishes_nothing(start):
    server = start("pushing:app", "--push")
    with opened(server) as stream:
        body = json.dumps({"items": [{"channel": "news", "content": "forged"}]}).encode()
        assert server.post("/publish/", body).body == b"hello", "the application has answered"
        publish(server, content="own", id="1")
        assert stream.chunk() == event(1, "own")


def test_a_page_of_another_origin_publishes_nothing(start):
    port = free_port()
    server = start("pushing:app", "--push", "--admin-bind", f"127.0.0.1:{port}")
    with opened(server) as stream:
        body = json.dumps({"items": [{"channel": "news", "content": "forged"}]}).encode()
        for origin in ["http://evil.example", f"http://127.0.0.1:{server.port}", "null"]:
            with Wire(("127.0.0.1", port)) as wire:
                headers = [f"Origin: {origin}", "Connection: close"]
                host = f"127.0.0.1:{port}"
                wire.send(request("POST", "/publish/", *headers, body=body, host=host))
                assert wire.response("POST").status == 403
        publish(server, content="own", id="1")
        assert stream.chunk() == event(1, "own")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_loop_that_publishes_lets_others_be_served(start, workers):
    """Each stream gets all messages in order, or ends."""
    server = start("pushing:app", "--push", "--threads", "4", workers=workers)
    received = [[] for _ in range(10)]

    def read(wire, lines):
        while chunk := wire.chunk():
            lines += [line for line in chunk.split(b"\n") if line.startswith(b"data: ")]
            if lines[-1] == b"data: end":
                return

    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(opened(server)) for _ in received]
        threads = [
            threading.Thread(target=read, args=pair) for pair in zip(wires, received, strict=True)
        ]
        flood = threading.Thread(target=server.get, args=("/flood?count=20000",))
        for thread in [*threads, flood]:
            thread.start()
        served = 0
        while flood.is_alive():
            assert server.get("/hello").body == b"hello"
            served += 1
        for thread in [flood, *threads]:
            thread.join(30)
            assert not thread.is_alive()
    print(f"{served} requests meanwhile, {[len(lines) for lines in received]} messages")
    for lines in received:
        last = lines.pop() if lines[-1] == b"data: end" else None
        numbers = [int(line.split()[1]) for line in lines]
        assert numbers == list(range(len(numbers)))
        assert last is None or len(numbers) == 20_000


def of_stream(server, number):
    path = b"/events"
    authority = b"127.0.0.1:%d" % server.port
    names = [b":method", b":scheme", b":path", b":authority"]
    return headers(number, zip(names, [b"GET", b"http", path, authority], strict=True))


def test_a_connection_has_a_hundred_streams_and_resets_each(start, tmp_path):
    admin = Admin(start, tmp_path, "pushing:app", "--push", workers=1)
    server = admin.server
    held = 'lockgate_held_requests{worker="0"}'
    numbers = range(1, 201, 2)
    with opened(server) as other, Http2(server.address) as client:
        for number in numbers:
            client.send(of_stream(server, number))
        streams = [client.streams[number] for number in numbers]
        client.wait(lambda: all(stream.body for stream in streams), "heads")
        publish(server, content="one", id="1")
        wanted = b": open\n\n" + event(1, "one")
        client.wait(lambda: all(stream.body == wanted for stream in streams), "messages")
        assert admin.samples()[held] == 101
        for number in numbers[:-1]:
            client.send(rst_stream(number, CANCEL))
        client.round_trip()
        publish(server, content="two", id="2")
        wanted += event(2, "two")
        client.wait(lambda: streams[-1].body == wanted, "a message on the last stream")
        assert [other.chunk(), other.chunk()] == [event(1, "one"), event(2, "two")]
        eventually(lambda: admin.samples()[held] == 2, what="two held streams")
    eventually(lambda: admin.samples()[held] == 0, what="no held stream")


def test_a_client_that_opens_no_window_costs_no_memory(start):
    server = start("pushing:app", "--push", "--push-memory", "1MiB")
    [worker] = server.workers()
    line = "x" * 60_000
    no_window = settings((4, 0))
    with opened(server) as reader, Http2(server.address, no_window) as client:
        client.gives_window = False
        for number in range(1, 101, 2):
            client.send(of_stream(server, number))
        streams = [client.streams[number] for number in range(1, 101, 2)]
        client.wait(lambda: all(stream.fields for stream in streams), "heads")
        before = pss(worker)
        for number in range(100):
            publish(server, content=line, id=str(number))
            assert reader.chunk() == event(number, line)
        grown = pss(worker) - before
        print(f"{grown / MIB:.1f} MiB for 50 streams without a window")
        assert grown < 16 * MIB
        assert not any(stream.body for stream in streams)
        client.gives_window = True
        client.send(window_update(1, 1000))
        client.wait(lambda: streams[0].body, "a part of the first stream")
