"""Any body in any pieces, given in any way: clients decode what the application gave."""

import json
import random
from base64 import b64encode

import pytest
from harness import Wire, request
from harness.codings import DECODE, incremental

ROUNDS = 40
WAYS = ["whole", "stream", "written", "file"]


@pytest.fixture(scope="module")
def server(shared):
    return shared("compressing:app", "--compress", "--threads", "4", "--compress-min-size", "1")


def piece(chance: random.Random) -> bytes:
    size = chance.choice([0, 1, 10, 100, 1000, 5000, 20_000, 70_000, 300_000])
    size = chance.randrange(size + 1)
    match chance.randrange(3):
        case 0:
            return chance.randbytes(size)
        case 1:
            return bytes([chance.randrange(256)]) * size
        case _:
            words = [b"<li>", b"</li>\n", b"one ", b"two ", b"{}", b"\xc3\xa9"]
            return b"".join(chance.choices(words, k=size // 4))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_clients_decode_what_the_application_gave(server, seed):
    chance = random.Random(seed)
    pieces = [piece(chance) for _ in range(chance.randrange(1, 8))]
    content = b"".join(pieces)
    headers = [("Content-Type", "text/plain")]
    if chance.random() < 0.4:
        headers.append(("Content-Length", str(len(content))))
    plan = {
        "headers": headers,
        "pieces": [b64encode(piece).decode() for piece in pieces],
        "way": chance.choice(WAYS),
    }
    assert server.post(f"/{seed}", json.dumps(plan).encode()).status == 200
    with server.connect() as wire:
        for coding in chance.sample(list(DECODE), 3):
            read(wire, f"/{seed}", coding, content)


def read(wire: Wire, target: str, coding: str, content: bytes) -> None:
    wire.send(request("GET", target, f"Accept-Encoding: {coding}"))
    response = wire.response()
    if not content:
        assert response.body == b"" or DECODE[coding](response.body) == b""
        return
    assert response.header("Content-Encoding") == coding
    assert DECODE[coding](response.body) == content
    # Each chunk makes what it contains readable: nothing of it waits for the next one.
    decode = incremental(coding)
    assert b"".join(map(decode, response.chunks or [response.body])) == content
