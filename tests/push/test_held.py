"""Responses that stay open for messages: which messages reach them, and what ends them."""

import contextlib
import json
import signal
import time
from urllib.parse import urlencode

import pytest
from harness import eventually


def opened(server, target="/events", fields=()):
    """A client of a held response, whose head has arrived."""
    wire = server.connect()
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
    if not target.startswith("/poll"):
        wire.opening = wire.head()
        assert wire.opening.status == 200, wire.opening
        wire.chunk()
    return wire


def publish(server, **fields):
    body = json.dumps(fields).encode()
    with server.connect() as wire:
        head = b"POST /publish HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        wire.send(head, body)
        assert wire.response().status == 204


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_message_reaches_the_streams_of_all_workers(start, workers):
    server = start("pushing:app", "--push", "--workers", workers)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(opened(server)) for _ in range(12)]
        publish(server, content="one\ntwo", id="7", event="news")
        for wire in wires:
            assert wire.chunk() == b"event: news\nid: 7\ndata: one\ndata: two\n\n"


def test_the_fields_of_the_instruction_stay_with_the_server(start):
    server = start("pushing:app", "--push")
    with opened(server) as wire:
        names = {name.lower() for name, _ in wire.opening.headers}
        assert not any(name.startswith("grip-") for name in names), names
        assert "content-length" not in names
        assert wire.opening.header("Content-Type") == "text/event-stream"


def test_other_channels_and_plain_streams_get_their_own(start):
    server = start("pushing:app", "--push")
    with (
        opened(server, "/lines?channel=a&channel=b") as both,
        opened(server, "/lines?channel=b") as b,
    ):
        for channel, content in [("a", "for a\n"), ("c", "for c\n"), ("b", "for b\n")]:
            publish(server, channel=channel, content=content)
        assert [both.chunk(), both.chunk()] == [b"for a\n", b"for b\n"]
        assert b.chunk() == b"for b\n"


def test_a_message_that_follows_the_first_part_of_a_stream_reaches_it(start, tmp_path):
    server = start("pushing:app", "--push", "--threads", "2")
    gate = tmp_path / "gate"
    with opened(server, f"/slowly?gate={gate}") as wire:
        publish(server, content="before the application has returned\n")
        gate.touch()
        publish(server, content="after\n")
        received = wire.chunk()
        while not received.endswith(b"after\n"):
            received += wire.chunk()
        assert received == b"before the application has returned\nafter\n"


def test_a_response_waits_for_one_message_and_the_connection_goes_on(start):
    server = start("pushing:app", "--push")
    with opened(server, "/poll") as wire:
        time.sleep(0.2)
        publish(server, content="now")
        response = wire.response()
        assert (response.status, response.body) == (200, b"now")
        wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().body == b"hello"


def test_a_response_without_a_message_is_the_applications_own(start):
    server = start("pushing:app", "--push")
    with opened(server, "/poll?Grip-Timeout=1") as wire:
        began = time.monotonic()
        response = wire.response()
        assert 0.9 <= time.monotonic() - began < 8
        assert (response.status, response.body) == (200, b"nothing")
        assert response.header("X-From") == "timeout"


def test_explicit_formats_come_before_the_content(start):
    server = start("pushing:app", "--push")
    formats = {
        "http-stream": {"content": "data: explicit\n\n"},
        "http-response": {"code": 201, "headers": {"X-A": "b"}, "body": "made"},
    }
    with opened(server) as stream, opened(server, "/poll") as poll:
        time.sleep(0.2)
        publish(server, content="unused", formats=formats)
        assert stream.chunk() == b"data: explicit\n\n"
        response = poll.response()
        assert (response.status, response.header("X-A"), response.body) == (201, "b", b"made")


def test_a_message_can_end_a_stream(start):
    server = start("pushing:app", "--push")
    with opened(server) as wire:
        publish(server, formats={"http-stream": {"action": "close"}})
        assert wire.chunk() == b""
        wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().body == b"hello"


def test_keep_alive_content_is_sent_to_a_silent_stream(start):
    server = start("pushing:app", "--push")
    keep_alive = urlencode({"Grip-Keep-Alive": ":\\n\\n; format=cstring; timeout=1"})
    with opened(server, "/events?" + keep_alive) as wire:
        assert [wire.chunk(), wire.chunk()] == [b":\n\n"] * 2


@pytest.mark.parametrize("way", ["Last-Event-ID", "prev-id"])
def test_messages_that_a_client_has_missed_are_sent_first(start, way):
    server = start("pushing:app", "--push")
    for number in range(5):
        publish(server, channel="news", content=f"m{number}", id=str(number))
        publish(server, channel="other", content=f"o{number}", id=f"o{number}")
    if way == "prev-id":
        target, fields = "/events?" + urlencode({"channel": "news; prev-id=2"}), ()
    else:
        target, fields = "/events", [("Last-Event-ID", "2")]
    with opened(server, target, fields) as wire:
        publish(server, channel="news", content="m5", id="5")
        received = b""
        while b"m5" not in received:
            received += wire.chunk()
        events = [event.split(b"data: ")[1] for event in received.split(b"\n\n") if event]
        assert events == [b"m3", b"m4", b"m5"]


def test_an_unknown_last_event_id_begins_with_the_next_message(start):
    server = start("pushing:app", "--push")
    publish(server, content="old", id="1")
    with opened(server, fields=[("Last-Event-ID", "unknown")]) as wire:
        publish(server, content="new", id="2")
        assert wire.chunk() == b"id: 2\ndata: new\n\n"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM])
def test_streams_end_whole_when_a_worker_ends(start, number):
    server = start("pushing:app", "--push", "--graceful-timeout", "4")
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(opened(server)) for _ in range(10)]
        server.signal(number)
        for wire in wires:
            assert wire.chunk() == b"", "the body ends with its last chunk"
            wire.expect_close()
    if number == signal.SIGTERM:
        assert server.wait(15) == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_no_message_is_lost_through_a_reload(start, number):
    """As a browser does: it comes back with the id of the last event."""
    server = start("pushing:app", "--push", "--graceful-timeout", "4")
    publish(server, content="m0", id="0")
    received, published = [], 0
    wire = opened(server, fields=[("Last-Event-ID", "0")])
    ends = 0
    server.signal(number)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and not (ends and len(received) >= 60):
        published += 1
        publish(server, content=f"m{published}", id=str(published))
        while len(received) < published:
            chunk = wire.chunk()
            if chunk == b"":
                ends += 1
                wire.close()
                fields = [("Last-Event-ID", str(len(received)))]
                wire = opened(server, fields=fields)
                continue
            received += [part for part in chunk.split(b"\n\n") if part]
    wire.close()
    assert ends >= 1
    assert received == [b"id: %d\ndata: m%d" % (n, n) for n in range(1, published + 1)]


def test_a_client_that_does_not_read_harms_no_other_one(start):
    server = start("pushing:app", "--push", "--push-memory", "1MiB", "--write-timeout", "30")
    with opened(server) as slow, opened(server) as other:
        line = "x" * 60000
        for number in range(120):
            publish(server, content=line, id=str(number))
            assert b"id: %d\n" % number in other.chunk()
        # What the slow client has not taken has been overwritten by now: its stream ends.
        received = 0
        while slow.chunk():
            received += 1
        assert 0 < received < 120
    assert server.errors.count("closed a held stream of") == 1, server.errors


def test_an_instruction_that_cannot_be_followed_is_an_error_of_the_application(start):
    server = start("pushing:app", "--push", "--push-channels", "2")
    target = "/events?channel=a&channel=b&channel=c"
    assert server.get(target).status == 500
    assert server.get("/events?Grip-Timeout=soon").status == 500
    assert server.get("/hello").body == b"hello"
    assert "cannot hold the response to /events?channel=a" in server.errors
    assert "Traceback" not in server.errors


def test_an_instruction_can_be_the_body(start):
    server = start("pushing:app", "--push")
    body = {
        "hold": {"mode": "stream", "channels": [{"name": "news"}]},
        "response": {"code": 200, "headers": {"Content-Type": "text/plain"}, "body": "begin\n"},
    }
    text = json.dumps(body).encode()
    with server.connect() as wire:
        wire.send(
            b"POST /instruct HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(text), text
        )
        head = wire.head()
        assert (head.status, head.header("Content-Type")) == (200, "text/plain")
        assert wire.chunk() == b"begin\n"
        publish(server, content="more\n")
        assert wire.chunk() == b"more\n"


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_response_continues_page_by_page_as_the_same_client(start, threads):
    server = start("pushing:app", "--push", "--threads", threads)
    with server.connect() as wire:
        wire.send(b"GET /page/1 HTTP/1.1\r\nHost: a\r\nCookie: ann\r\n\r\n")
        assert wire.head().status == 200
        pages = [wire.chunk() for _ in range(3)]
        assert pages == [b"page %d for ann\n" % number for number in (1, 2, 3)]
        publish(server, content="more\n")
        assert wire.chunk() == b"more\n"


def test_messages_that_are_missing_come_from_the_application(start):
    server = start("pushing:app", "--push")
    with server.connect() as wire:
        wire.send(b"GET /reliable HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.head().status == 200
        assert wire.chunk() == b"begin\n"
        # 2 and 3 were never published here.
        publish(server, content="4\n", id="4", prev_id="3")
        publish(server, content="5\n", id="5", prev_id="4")
        received = b"".join(wire.chunk() for _ in range(3))
        assert received == b"2 and 3 from the application\n4\n5\n"


def test_a_link_to_another_server_ends_the_response(start):
    server = start("pushing:app", "--push")
    with server.connect() as wire:
        wire.send(b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.head().status == 200
        assert [wire.chunk(), wire.chunk()] == [b"begin\n", b""]
    assert server.errors.count("cannot continue the held response to /elsewhere") == 1


def test_an_old_client_gets_a_stream_that_ends_with_the_connection(start):
    server = start("pushing:app", "--push", "--graceful-timeout", "2")
    with server.connect() as wire:
        wire.send(b"GET /lines HTTP/1.0\r\nHost: a\r\n\r\n")
        assert wire.head().status == 200
        assert wire.part(5) == b"open\n"
        publish(server, content="one\n")
        assert wire.part(4) == b"one\n"
        server.signal(signal.SIGTERM)
        assert wire.rest() == b""


def test_a_head_request_is_not_held(start):
    server = start("pushing:app", "--push")
    with server.connect() as wire:
        wire.send(b"HEAD /events HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response("HEAD").status == 200
        wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().body == b"hello"


def test_requests_are_signed_and_a_clients_signature_is_removed(start):
    server = start("pushing:app", "--push")
    with server.connect() as wire:
        wire.send(b"GET /sig HTTP/1.1\r\nHost: a\r\nGrip-Sig: forged\r\n\r\n")
        signature = wire.response().body
        assert signature.count(b".") == 2 and b"forged" not in signature


def test_without_push_instructions_pass_unchanged(start):
    server = start("pushing:app")
    response = server.get("/events")
    assert response.body == b": open\n\n"
    assert response.header("Grip-Hold") == "stream"
    assert server.get("/publish").status == 500
    assert "RuntimeError" in server.errors and "push" in server.errors


def test_the_access_log_has_a_stream_when_it_ends(start):
    server = start(
        "pushing:app",
        "--push",
        "--access-logfile",
        "-",
        "--access-logformat",
        "%(s)s %(U)s %(B)s %(D)s",
    )
    with opened(server) as wire:
        publish(server, content="x" * 100)
        wire.chunk()
        time.sleep(1.1)
    line = eventually(
        lambda: next((one for one in server.output.splitlines() if " /events " in one), None),
        what="a line of the stream",
    )
    status, _, size, microseconds = line.split()
    assert status == "200" and int(size) >= 108 and int(microseconds) >= 1_000_000
