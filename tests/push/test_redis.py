"""Servers that share a Redis server: a message reaches the held connections of all, each once."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from harness import eventually
from harness.process import children, free_port
from harness.redis import Redis

RELAYS = "messages are relayed through"
CANNOT = "cannot relay messages through"
AGAIN = " again, after "


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def launch(start):
    """Starts a server with the relay, and waits until this works."""

    def launch(redis, *arguments, url=None, relays=True, **options):
        redis_flags = ("--push-redis", url or redis.url)
        server = start("pushing:app", "--push", *redis_flags, *arguments, **options)
        if relays:
            eventually(lambda: RELAYS in server.errors, what="the relay works")
        return server

    return launch


@contextlib.contextmanager
def opened(server, target="/lines"):
    """A client of a held stream, whose head has arrived."""
    with server.connect() as wire:
        wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert wire.head().status == 200
        wire.chunk()
        yield wire


def publish(server, **fields):
    body = json.dumps(fields).encode()
    with server.connect() as wire:
        head = b"POST /publish HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        wire.send(head, body)
        assert wire.response().status == 204


def lines(wire, count):
    """This many lines, in one chunk or several."""
    received = b""
    while received.count(b"\n") < count:
        received += wire.chunk()
    return received.decode().splitlines()


def numbered(count, prefix=""):
    return [f"{prefix}{number}" for number in range(count)]


def publish_all(server, contents):
    for content in contents:
        publish(server, content=f"{content}\n")


def relay_pids(server):
    return [pid for pid in children(server.pid) if short_name(pid) == "lockgate-relay"]


def short_name(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_messages_reach_the_connections_of_all_servers_once_and_in_order(redis, launch):
    servers = [launch(redis, "--workers", "2"), launch(redis), launch(redis)]
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(opened(server)) for server in servers for _ in range(3)]
        sent = []
        for turn, server in enumerate(servers):
            contents = numbered(20, f"{turn}-")
            publish_all(server, contents)
            sent += contents
            for wire in wires:
                assert lines(wire, 20) == contents
        # Nothing comes twice: the next line is the next message.
        publish_all(servers[0], ["end"])
        for wire in wires:
            assert lines(wire, 1) == ["end"]


def test_a_message_keeps_its_id_its_event_and_its_formats(redis, launch):
    a, b = launch(redis), launch(redis)
    with opened(b, "/events") as events, opened(b, "/lines") as plain:
        formats = {"http-stream": {"content-bin": "/wA="}}
        publish(a, content="one\n", id="7", event="price")
        assert events.chunk() == b"event: price\nid: 7\ndata: one\ndata: \n\n"
        assert plain.chunk() == b"one\n"
        publish(a, formats=formats)
        assert events.chunk() == plain.chunk() == b"\xff\0"


def test_a_client_resumes_on_another_server(redis, launch):
    a, b = launch(redis), launch(redis)
    with opened(b, "/events") as first:
        for number in range(3):
            publish(a, content=str(number), id=str(number))
            assert first.chunk() == f"id: {number}\ndata: {number}\n\n".encode()
    with b.connect() as wire:
        wire.send(b"GET /events HTTP/1.1\r\nHost: a\r\nLast-Event-ID: 0\r\n\r\n")
        assert wire.head().status == 200
        received = b""
        while b"data: 2" not in received:
            received += wire.chunk()
    assert b"id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n" in received


@pytest.mark.parametrize("persists", [False, True], ids=["empty", "with its data"])
def test_messages_wait_in_the_log_while_redis_is_away(tmp_path, launch, persists):
    redis = Redis(tmp_path, persists=persists)
    try:
        a, b = launch(redis), launch(redis)
        with opened(a) as of_a, opened(b) as of_b:
            publish_all(a, ["before"])
            assert lines(of_a, 1) == lines(of_b, 1) == ["before"]
            # A loop of Redis later, A has its answer. A lost answer and lost data together would
            # make A send the message again.
            redis.command("PING")
            redis.kill()
            for server in (a, b):
                eventually(lambda server=server: CANNOT in server.errors, what="the failure logged")
            publish_all(a, numbered(30))
            assert lines(of_a, 30) == numbered(30)
            redis.start()
            assert lines(of_b, 30) == numbered(30)
            publish_all(b, ["after"])
            assert lines(of_a, 1) == lines(of_b, 1) == ["after"]
        for server in (a, b):
            eventually(lambda server=server: AGAIN in server.errors, what="the end logged")
            assert server.errors.count(CANNOT) == 1
            assert server.errors.count(AGAIN) == 1
    finally:
        redis.kill()


def test_a_frozen_redis_server_delays_only_what_passes_through_it(redis, launch):
    a, b = launch(redis), launch(redis)
    with opened(a) as of_a, opened(b) as of_b:
        with redis.frozen():
            begun = time.monotonic()
            publish_all(a, numbered(30))
            assert lines(of_a, 30) == numbered(30)
            publish_all(b, ["of b"])
            assert lines(of_b, 1) == ["of b"]
            # Publishing and delivery wait for no answer of Redis, for which the relay waits 15 s.
            assert time.monotonic() - begun < 5
        assert lines(of_b, 30) == numbered(30)
        assert lines(of_a, 1) == ["of b"]
        publish_all(b, ["end"])
        assert lines(of_a, 1) == lines(of_b, 1) == ["end"]


def test_a_server_starts_without_redis_and_relays_when_it_comes(redis, launch):
    redis.kill()
    a = launch(redis, relays=False)
    eventually(lambda: "Connection refused" in a.errors, what="the reason logged")
    with opened(a) as wire:
        publish_all(a, ["one"])
        assert lines(wire, 1) == ["one"]
        redis.start()
        b = launch(redis)
        with opened(b) as of_b:
            eventually(lambda: AGAIN in a.errors, within=20, what="the relay works")
            publish_all(b, ["two"])
            assert lines(wire, 1) == ["two"]
            publish_all(a, ["three"])
            received = lines(of_b, 2)
            # A's first message may reach B before or after its client has come.
            received = received[1:] + lines(of_b, 1) if received[0] == "one" else received
            assert received == ["two", "three"]


def test_a_server_that_is_started_again_gets_what_is_new(redis, launch):
    a, b = launch(redis), launch(redis)
    with opened(b) as wire:
        publish_all(a, ["one"])
        assert lines(wire, 1) == ["one"]
    b.stop()
    publish_all(a, ["while b was down"])
    b = launch(redis)
    with opened(b) as wire, opened(a) as of_a:
        publish_all(a, ["two"])
        assert lines(wire, 1) == ["two"]
        publish_all(b, ["three"])
        assert lines(wire, 1) == ["three"]
        assert lines(of_a, 2) == ["two", "three"]


@pytest.mark.parametrize("kill", [False, True], ids=["reload", "killed relay"])
def test_nothing_is_lost_or_repeated_when_the_relay_is_started_again(redis, launch, kill):
    a, b = launch(redis), launch(redis)
    with opened(b) as of_b:
        sent, received = [], []
        for turn in range(3):
            contents = numbered(30, f"{turn}-")
            sent += contents
            publish_all(a, contents[:10])
            (before,) = relay_pids(a)
            if kill:
                os.kill(before, signal.SIGKILL)
            else:
                a.signal(signal.SIGHUP)
            publish_all(a, contents[10:20])
            # Published on the other server while A's relay starts again.
            publish_all(b, [f"{turn}-b"])
            eventually(
                lambda before=before: [pid for pid in relay_pids(a) if pid != before],
                within=30,
                what="another relay",
            )
            publish_all(a, contents[20:])
            received += lines(of_b, 31)
        of_a = [line for line in received if not line.endswith("b")]
        assert of_a == sent
        eventually(lambda: len(relay_pids(a)) == 1, what="one relay")
    with opened(a) as wire:
        publish_all(b, ["end"])
        assert lines(wire, 1) == ["end"]


def test_a_wrong_password_is_named_and_a_right_one_works(tmp_path, launch):
    redis = Redis(tmp_path, "--requirepass", "secret")
    try:
        url = f"127.0.0.1:{redis.port}"
        wrong = launch(redis, url=f"redis://:wrong@{url}", relays=False)
        eventually(lambda: "Redis refuses AUTH: WRONGPASS" in wrong.errors, what="the reason")
        without = launch(redis, relays=False)
        eventually(lambda: "NOAUTH Authentication required" in without.errors, what="the reason")
        launch(redis, url=f"redis://:secret@{url}")
        launch(redis, url=f"redis://default:secret@{url}/3")
        for server in (wrong, without):
            assert server.errors.count(CANNOT) == 1
            assert "wrong" not in server.errors.replace("WRONGPASS", "")
    finally:
        redis.kill()


def test_connections_that_break_lose_and_repeat_nothing(redis, launch):
    a, b = launch(redis), launch(redis)
    with opened(b) as of_b:
        for number in range(150):
            publish_all(a, [number])
            if number % 5 == 0:
                redis.command("CLIENT", "KILL", "TYPE", "normal")
        publish_all(a, ["end"])
        assert lines(of_b, 151) == [*numbered(150), "end"]


def test_nothing_is_lost_or_repeated_in_an_upgrade(redis, launch):
    a, b = launch(redis), launch(redis)
    (before,) = relay_pids(a)
    with opened(b) as wire:
        publish_all(a, numbered(10, "a"))
        publish_all(b, numbered(10, "b"))
        a.signal(signal.SIGUSR2)
        publish_all(a, numbered(10, "c"))
        publish_all(b, numbered(10, "d"))
        eventually(
            lambda: [pid for pid in relay_pids(a) if pid != before],
            within=30,
            what="the relay of the new program",
        )
        publish_all(a, ["end"])
        publish_all(b, ["end of b"])
        received = lines(wire, 42)
        for turn in "abcd":
            assert [line for line in received if line[0] == turn] == numbered(10, turn)


def test_the_connection_to_redis_may_be_encrypted(tmp_path, launch, authority):
    certificate, key = authority.issue("redis", "DNS:localhost")
    port = free_port()
    redis = Redis(
        tmp_path,
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
    )
    try:
        url = f"rediss://localhost:{port}"
        trusting = {"SSL_CERT_FILE": str(authority.certfile)}
        a, b = (launch(redis, url=url, environment=trusting) for _ in range(2))
        with opened(b) as wire:
            publish_all(a, ["one"])
            assert lines(wire, 1) == ["one"]
        other = launch(redis, url=url, relays=False)
        eventually(lambda: "TLS: invalid peer certificate" in other.errors, what="the reason")
    finally:
        redis.kill()
