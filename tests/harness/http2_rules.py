"""A rule of HTTP/2: what a client sends, and how a server must answer.

Each step is bytes to send, or a function of the connection, such as a wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.http2 import GET, INITIAL_WINDOW_SIZE, Fields, Http2, Violation, headers, settings

Step = bytes | Callable[[Http2], object]
Expectation = Callable[[Http2], None]

# A stream that no case uses before.
LAST = 2_001


@dataclass
class Rule:
    section: str
    fact: str
    steps: list[Step]
    expect: Expectation
    opening: bytes = settings()

    def __str__(self) -> str:
        return f"{self.section} {self.fact}"

    def check(self, address: tuple[str, int] | str) -> None:
        with Http2(address, self.opening) as client:
            client.settled()
            for step in self.steps:
                if isinstance(step, bytes):
                    client.send(step)
                else:
                    step(client)
            self.expect(client)


def connection_error(*codes: int) -> Expectation:
    """GOAWAY with one of the codes, then the end of the connection (RFC 9113 §5.4.1)."""

    def expect(client: Http2) -> None:
        client.until_closed()
        if not client.goaways:
            raise Violation(f"closed without GOAWAY. {client}")
        if client.goaways[-1][1] not in codes:
            raise Violation(f"GOAWAY with {client.goaways[-1][1]}, not {codes}")

    return expect


def stream_error(stream: int, *codes: int) -> Expectation:
    """RST_STREAM with one of the codes, and the connection goes on (§5.4.2)."""

    def expect(client: Http2) -> None:
        client.wait(lambda: reset_of(client, stream) is not None, f"RST_STREAM on {stream}")
        if reset_of(client, stream) not in codes:
            raise Violation(f"RST_STREAM with {reset_of(client, stream)}, not {codes}. {client}")
        goes_on(client)

    return expect


def stream_or_connection_error(stream: int, *codes: int) -> Expectation:
    """RST_STREAM, or GOAWAY, as RFC 9113 §5.4.2 leaves it to the endpoint."""

    def expect(client: Http2) -> None:
        client.wait(
            lambda: client.goaways or client.is_closed or reset_of(client, stream) is not None,
            f"error on {stream}",
        )
        kind = connection_error if client.goaways or client.is_closed else None
        (kind(*codes) if kind else stream_error(stream, *codes))(client)

    return expect


def answered(stream: int = 1, status: int = 200, body: bytes | None = None) -> Expectation:
    """A complete response, and the connection goes on."""

    def expect(client: Http2) -> None:
        response = client.response(stream)
        if response.status != status or body not in (None, response.body):
            raise Violation(f"{response.status} {response.body[:80]!r}. {client}")
        goes_on(client)

    return expect


def refused(stream: int = 1) -> Expectation:
    """A response of the class 4xx or 5xx, or RST_STREAM; the connection goes on."""

    def expect(client: Http2) -> None:
        found = client.streams[stream]
        client.wait(lambda: found.is_ended or found.reset is not None, f"answer on {stream}")
        if found.fields is None:
            stream_error(stream, 1)(client)
        elif not 400 <= found.status < 600:
            raise Violation(f"{found.status} {found.body[:80]!r}")
        goes_on(client)

    return expect


def ignored(client: Http2) -> None:
    """Nothing happens: no stream is reset, and the connection goes on."""
    goes_on(client)
    resets = {number: found.reset for number, found in client.streams.items() if found.reset}
    if resets:
        raise Violation(f"RST_STREAM: {resets}")


def goes_on(client: Http2) -> None:
    """A new request is answered."""
    if client.goaways:
        raise Violation(f"GOAWAY {client.goaways}")
    if client.initial_window < 1_000 or client.announced:
        client.send(settings((INITIAL_WINDOW_SIZE, 65_535)))
    # The largest identifier ends what a connection can do; the round trip must do there.
    if max(client.streams, default=0) < LAST:
        if client.request(LAST, GET).status != 200:
            raise Violation(f"{client.streams[LAST].fields}")
    client.round_trip()


def reset_of(client: Http2, stream: int) -> int | None:
    found = client.streams.get(stream)
    return None if found is None else found.reset


def response_of(stream: int) -> Step:
    return lambda client: client.response(stream)


def reset_by_server(stream: int) -> Step:
    """Waits until the server has reset the stream."""
    return lambda client: client.wait(
        lambda: reset_of(client, stream) is not None, f"RST_STREAM on {stream}"
    )


def round_trip(client: Http2) -> None:
    client.round_trip()


def window_of(size: int) -> bytes:
    """SETTINGS with this initial window, for streams that shall not end."""
    return settings((INITIAL_WINDOW_SIZE, size))


def request(stream: int, fields: Fields = GET) -> bytes:
    return headers(stream, fields)


def get(path: bytes) -> Fields:
    return ((b":method", b"GET"), (b":scheme", b"http"), (b":path", path), (b":authority", b"h"))


def with_fields(*fields: tuple[bytes, bytes], base: Fields = GET) -> Fields:
    return (*base, *fields)
