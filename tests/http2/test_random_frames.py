"""Random frames on a few streams: each frame of the server is one that RFC 9113 allows."""

import random
import struct

import pytest
from harness.http2 import (
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PRIORITY_UPDATE,
    Http2,
    Violation,
    data,
    frame,
    goaway,
    headers,
    ping,
    priority,
    rst_stream,
    settings,
    window_update,
)
from harness.http2_rules import get, goes_on, with_fields

CONNECTIONS = 100
PATHS = [
    b"/",
    b"/large?megabytes=1",
    b"/stream?pieces=20",
    b"/status?code=204",
    b"/head-with-length",
    b"/large-headers",
    b"/file?size=200000",
    b"/large-stream?megabytes=1",
]
LENGTHS = [0, 3, 5, 1_000, 16_384]


@pytest.mark.parametrize("seed", range(4))
def test_the_frames_of_the_server_are_valid_whatever_it_receives(server, seed):
    for number in range(CONNECTIONS):
        chance = random.Random(f"{seed}/{number}")
        try:
            with Http2(server.address, timeout=5) as client:
                converse(client, chance)
        except Violation as violation:
            raise AssertionError(f"seed {seed}/{number}") from violation
    with Http2(server.address) as client:
        goes_on(client)


def converse(client, chance):
    client.gives_window = chance.random() < 0.7
    for _ in range(chance.randrange(1, 40)):
        client.send(random_frame(chance))
        if chance.random() < 0.2:
            read_what_is_there(client)
        if client.goaways or client.is_closed:
            return
    try:
        client.round_trip()
    except Violation as violation:
        # The last frames may have ended the connection.
        if not client.is_closed:
            raise violation


def read_what_is_there(client):
    client.socket.settimeout(0.005)
    try:
        while client.frame():
            pass
    except TimeoutError:
        client.socket.settimeout(5)


def random_frame(chance):
    stream = chance.choice([1, 3, 5, 7, 9, 11])
    choices = {
        lambda: headers(stream, random_request(chance), chance.random() < 0.5): 30,
        lambda: data(stream, bytes(chance.choice(LENGTHS)), chance.random() < 0.4): 20,
        lambda: rst_stream(stream, chance.randrange(15)): 10,
        lambda: window_update(chance.choice([0, stream]), chance.choice([1, 100, 1 << 20])): 10,
        lambda: random_settings(chance): 8,
        lambda: ping(chance.randbytes(8)): 5,
        lambda: priority(stream): 5,
        lambda: headers(stream, ((b"x", b"y"),)): 4,
        lambda: random_priority_update(chance, stream): 3,
        lambda: random_type(chance, stream): 3,
        goaway: 1,
        lambda: frame(HEADERS, chance.randrange(256), stream, chance.randbytes(20)): 1,
    }
    return chance.choices(list(choices), list(choices.values()))[0]()


def random_request(chance):
    method = (b":method", chance.choice([b"GET", b"POST", b"HEAD"]))
    fields = (method, *get(chance.choice(PATHS))[1:])
    if chance.random() < 0.2:
        fields = with_fields((b"content-length", b"%d" % chance.choice(LENGTHS)), base=fields)
    if chance.random() < 0.1:
        fields = with_fields((b"expect", b"100-continue"), base=fields)
    return fields


def random_settings(chance):
    window = chance.choice([0, 1, 100, 65_535, 1 << 20])
    size = chance.choice([16_384, 30_000])
    return settings((INITIAL_WINDOW_SIZE, window), (MAX_FRAME_SIZE, size))


def random_priority_update(chance, stream):
    value = struct.pack(">I", stream) + b"u=%d, i" % chance.randrange(9)
    return frame(PRIORITY_UPDATE, 0, 0, value)


def random_type(chance, stream):
    payload = chance.randbytes(chance.randrange(30))
    return frame(chance.randrange(256), chance.randrange(256), chance.choice([0, stream]), payload)
