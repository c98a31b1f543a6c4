"""What clients send, and what has to come back: one `Exchange` for each kind of request."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from harness import Response, chunked, request

from soak.content import content

CHUNKED = "Transfer-Encoding: chunked"


@dataclass
class Exchange:
    """One request, in the pieces in which it is sent, and its only right answer."""

    kind: str
    identity: str
    pieces: list[bytes]
    status: int = 200
    body: bytes | None = b""  # None: the server's own words
    method: str = "GET"
    is_cut: bool = False  # the response has to end before its end
    expects_continue: bool = False
    # What the client does after sending: it reads the answer, or leaves by "close" or "reset".
    then: str = "read"
    reads: int = 0  # bytes of the body that are read before the client leaves

    @property
    def is_left(self) -> bool:
        return self.then != "read"

    @property
    def number(self) -> int:
        """Of its client's requests."""
        return int(self.identity.rpartition("-")[2])

    def problem(self, response: Response) -> str | None:
        """What is wrong with a response, as far as it was read."""
        if self.is_cut and response.status == 500:
            # Nothing had left when the application failed.
            return None if response.body else "an error without a word"
        if response.status != self.status:
            return f"status {response.status} instead of {self.status}: {response.body[:200]!r}"
        if self.body is None:
            return None if response.body else "an error without a word"
        if self.method == "HEAD":
            announced = response.header("Content-Length")
            return None if announced == str(len(self.body)) else f"Content-Length {announced}"
        is_whole = not (self.is_cut or self.is_left)
        return difference(response.body, self.body if is_whole else self.body[: len(response.body)])


Maker = Callable[[random.Random, str], Exchange]


def difference(given: bytes, wanted: bytes) -> str | None:
    if given == wanted:
        return None
    at = next(
        (at for at, (a, b) in enumerate(zip(given, wanted, strict=False)) if a != b),
        min(len(given), len(wanted)),
    )
    return f"{len(given)} bytes instead of {len(wanted)}, which differ from byte {at} on"


def size(rng: random.Random, most: int) -> int:
    """Mostly small, sometimes up to `most`, and often at a border of a buffer."""
    if rng.random() < 0.1:
        return min(most, rng.choice([0, 1, 4095, 4096, 4097, 16384, 65535, 65536, 65537]))
    return int(most ** rng.random())


def target(path: str, identity: str, **query: object) -> str:
    words = [f"id={identity}", *(f"{key}={value}" for key, value in query.items())]
    return f"{path}?{'&'.join(words)}"


def plain(rng: random.Random, identity: str) -> Exchange:
    length = size(rng, 300_000)
    data = request("GET", target("/plain", identity, size=length))
    return Exchange("plain", identity, [data], body=content(identity, length))


def head(rng: random.Random, identity: str) -> Exchange:
    length = size(rng, 300_000)
    data = request("HEAD", target("/plain", identity, size=length))
    return Exchange("head", identity, [data], body=content(identity, length), method="HEAD")


def echo(rng: random.Random, identity: str) -> Exchange:
    # Above 512 KiB a body is on disk.
    body = content(identity, size(rng, 1_500_000))
    data = request("POST", target("/echo", identity), body=body)
    return Exchange("echo", identity, cut(rng, data), body=body)


def small_echo(rng: random.Random, identity: str) -> Exchange:
    """Small enough to be sent while nothing is read."""
    body = content(identity, size(rng, 5_000))
    data = request("POST", target("/echo", identity), body=body)
    return Exchange("echo", identity, [data], body=body)


def echo_chunked(rng: random.Random, identity: str) -> Exchange:
    body = content(identity, size(rng, 100_000))
    pieces = [piece for piece in cut(rng, body) if piece]
    data = request("POST", target("/echo", identity), CHUNKED) + chunked(pieces, "X-Sum: 1")
    return Exchange("chunked", identity, cut(rng, data), body=body)


def continued(rng: random.Random, identity: str) -> Exchange:
    body = content(identity, 1 + size(rng, 20_000))
    whole = request("POST", target("/echo", identity), "Expect: 100-continue", body=body)
    pieces = [whole[: -len(body)], body]
    return Exchange("continue", identity, pieces, body=body, expects_continue=True)


def in_pieces(path: str) -> Maker:
    def make(rng: random.Random, identity: str) -> Exchange:
        length, pieces = size(rng, 300_000), rng.randrange(1, 30)
        data = request("GET", target(path, identity, size=length, pieces=pieces))
        return Exchange(path[1:], identity, [data], body=content(identity, length))

    return make


def file(rng: random.Random, identity: str) -> Exchange:
    length = size(rng, 500_000)
    data = request("GET", target("/file", identity, size=length))
    return Exchange("file", identity, [data], body=content(identity, length))


def slow(rng: random.Random, identity: str) -> Exchange:
    data = request("GET", target("/slow", identity, size=100, milliseconds=rng.randrange(1, 60)))
    return Exchange("slow", identity, [data], body=content(identity, 100))


def nothing(rng: random.Random, identity: str) -> Exchange:
    return Exchange("nothing", identity, [request("GET", target("/nothing", identity))], 204)


def fail(rng: random.Random, identity: str) -> Exchange:
    return Exchange("fail", identity, [request("GET", target("/fail", identity))], 500, None)


def refused(rng: random.Random, identity: str) -> Exchange:
    faults = [
        request("GET", target("/plain", identity, size=1), host=None),
        request("GET", target("/plain", identity, size=1), "Content-Length: x"),
        request("GET", target("/plain", identity, size=1), "Bad Name: 1"),
    ]
    return Exchange("refused", identity, [rng.choice(faults)], 400, None)


def broken(rng: random.Random, identity: str) -> Exchange:
    length = 1 + size(rng, 100_000)
    data = request("GET", target("/broken", identity, size=length))
    return Exchange("broken", identity, [data], body=content(identity, length), is_cut=True)


def leave_waiting(rng: random.Random, identity: str) -> Exchange:
    data = request("GET", target("/slow", identity, size=100, milliseconds=20))
    return Exchange("left waiting", identity, [data], then=rng.choice(["close", "reset"]))


def leave_reading(rng: random.Random, identity: str) -> Exchange:
    length = 3_000_000
    data = request("GET", target("/plain", identity, size=length))
    body = content(identity, length)
    then = rng.choice(["close", "reset"])
    return Exchange("left reading", identity, [data], body=body, then=then, reads=100_000)


def leave_sending(rng: random.Random, identity: str) -> Exchange:
    body = content(identity, 50_000)
    data = request("POST", target("/echo", identity), body=body)
    part = data[: rng.randrange(20, len(data))]
    return Exchange("left sending", identity, [part], then=rng.choice(["close", "reset"]))


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """In one to four pieces: what one packet holds says nothing."""
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice([0, 0, 1, 3])))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


# How often of a hundred or so.
KINDS: list[tuple[Maker, int]] = [
    (plain, 30),
    (head, 5),
    (echo, 12),
    (echo_chunked, 10),
    (continued, 4),
    (in_pieces("/stream"), 10),
    (in_pieces("/written"), 6),
    (file, 8),
    (slow, 8),
    (nothing, 4),
    (fail, 2),
    (refused, 2),
    (broken, 2),
    (leave_waiting, 2),
    (leave_reading, 1),
    (leave_sending, 2),
]
PIPELINED = [plain, head, small_echo, in_pieces("/stream"), file, slow, nothing]


def choose(rng: random.Random) -> list[Maker]:
    """The next request of a client, or several that it sends at once."""
    if rng.random() < 0.06:
        return [rng.choice(PIPELINED) for _ in range(rng.randrange(2, 7))]
    makers, weights = zip(*KINDS, strict=True)
    return rng.choices(makers, weights)
