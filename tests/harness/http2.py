"""A strict HTTP/2 client: frames out as a test writes them, every received frame checked.

It knows RFC 9113 and no server. Whatever a server may not send is a `Violation`.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from hpack import Decoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Frame types (RFC 9113 §6, RFC 9218 §7.1).
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION, PRIORITY_UPDATE = 8, 9, 16
UNKNOWN = 0xEE

# Flags.
ACK = END_STREAM = 0x01
END_HEADERS = 0x04
PADDED = 0x08
HAS_PRIORITY = 0x20
KNOWN_FLAGS = {DATA: 0x09, HEADERS: 0x2D, SETTINGS: 0x01, PING: 0x01, CONTINUATION: 0x04}

# Settings (§6.5.2).
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6

# Error codes (§7).
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT = range(5)
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = range(5, 10)
CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, HTTP_1_1_REQUIRED = range(10, 14)

CONNECTION_SPECIFIC = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
}
LARGEST_WINDOW = 2**31 - 1

Fields = Iterable[tuple[bytes, bytes]]
GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"h"))
POST = ((b":method", b"POST"), *GET[1:])


class Violation(AssertionError):
    """The server sent what RFC 9113 does not allow, or did not answer as expected."""


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(
    kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None
) -> bytes:
    """A frame; `length` if it shall not be that of the payload."""
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(fields: Fields, pattern: int = 0x00) -> bytes:
    """A header block of literals; pattern 0x40 adds them to the dynamic table."""
    return b"".join(bytes([pattern]) + text(name) + text(value) for name, value in fields)


def text(value: bytes) -> bytes:
    """A string literal without Huffman code (RFC 7541 §5.2)."""
    length, out = len(value), bytearray()
    if length < 127:
        return bytes([length]) + value
    out.append(127)
    length -= 127
    while length >= 128:
        out.append(length % 128 + 128)
        length //= 128
    return bytes(out) + bytes([length]) + value


def headers(
    stream: int, fields: Fields | bytes = GET, end_stream: bool = True, flags: int = END_HEADERS
) -> bytes:
    """A HEADERS frame of a list of fields, or of a block."""
    payload = fields if isinstance(fields, bytes) else block(fields)
    return frame(HEADERS, flags | (END_STREAM if end_stream else 0), stream, payload)


def continuation(stream: int, payload: bytes, flags: int = END_HEADERS) -> bytes:
    return frame(CONTINUATION, flags, stream, payload)


def data(stream: int, payload: bytes = b"", end_stream: bool = True) -> bytes:
    return frame(DATA, END_STREAM if end_stream else 0, stream, payload)


def priority(stream: int, dependency: int = 0, weight: int = 15) -> bytes:
    return frame(PRIORITY, 0, stream, struct.pack(">IB", dependency, weight))


def rst_stream(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(*pairs: tuple[int, int], flags: int = 0, stream: int = 0) -> bytes:
    return frame(SETTINGS, flags, stream, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def ping(payload: bytes = b"lockgate", flags: int = 0) -> bytes:
    return frame(PING, flags, 0, payload)


def goaway(code: int = NO_ERROR, last: int = 0, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + debug)


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


@dataclass
class Stream:
    """What has arrived on one stream."""

    window: int
    interim: list[list[tuple[str, str]]] = field(default_factory=list)
    fields: list[tuple[str, str]] | None = None
    trailers: list[tuple[str, str]] | None = None
    pieces: list[bytes] = field(default_factory=list)
    is_ended: bool = False
    reset: int | None = None
    is_head: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def status(self) -> int:
        assert self.fields is not None
        return int(self.fields[0][1])

    def field(self, name: str) -> str | None:
        values = [value for key, value in self.fields or [] if key == name]
        if len(values) > 1:
            raise Violation(f"{name} occurs {len(values)} times: {values}")
        return values[0] if values else None


class Http2:
    """One connection. The preface and `opening` (SETTINGS) are sent unless `opening` is None.

    With a `context` it is a TLS connection to localhost, on which ALPN agrees on h2. The bytes
    `before` come before everything else.
    """

    def __init__(
        self,
        address: tuple[str, int] | str,
        opening: bytes | None = settings(),
        timeout: float = 10.0,
        window_updates: bool = True,
        context: ssl.SSLContext | None = None,
        before: bytes = b"",
    ) -> None:
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout=timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(before)
        if context is not None:
            context.set_alpn_protocols(["h2"])
            secure = context.wrap_socket(self.socket, server_hostname="localhost")
            assert secure.selected_alpn_protocol() == "h2"
            self.socket = secure
        self.pending = b""
        self.frames: list[Frame] = []
        self.streams: dict[int, Stream] = {}
        self.settings: dict[int, int] = {}
        self.window = 65_535
        self.goaways: list[tuple[int, int, bytes]] = []
        self.pings: list[bytes] = []
        self.window_updates: list[tuple[int, int]] = []
        self.acknowledged = 0
        self.is_closed = False
        self.gives_window = window_updates
        self.decoder = Decoder()
        self.fragments: tuple[int, int, bytes] | None = None
        # What this side has announced: each is in force when the server has acknowledged it.
        self.announced: list[dict[int, int]] = []
        self.initial_window = 65_535
        self.max_frame_size = 16_384
        if opening is not None:
            self.send(PREFACE, opening)

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        """Sends frames; a server that has closed is no error here, but what it sent before is."""
        for piece in pieces:
            self._note(piece)
        try:
            self.socket.sendall(b"".join(pieces))
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            pass

    def trickle(self, *pieces: bytes) -> None:
        """Sends frames byte by byte."""
        for piece in pieces:
            self._note(piece)
            for byte in piece:
                self.socket.sendall(bytes([byte]))

    def _note(self, piece: bytes) -> None:
        """Remembers what sent frames allow the server to do."""
        rest = piece.removeprefix(PREFACE)
        while len(rest) >= 9:
            length = int.from_bytes(rest[:3], "big")
            kind, flags, stream = rest[3], rest[4], int.from_bytes(rest[5:9], "big")
            payload, rest = rest[9 : 9 + length], rest[9 + length :]
            if kind == SETTINGS and not flags & ACK and length % 6 == 0:
                self.announced.append(dict(struct.iter_unpack(">HI", payload)))
            elif kind == WINDOW_UPDATE and length == 4:
                self._widen(stream, int.from_bytes(payload, "big") & LARGEST_WINDOW)
            elif kind == HEADERS and stream not in self.streams:
                self.streams[stream] = Stream(self.initial_window, is_head=b"HEAD" in payload)

    def _widen(self, stream: int, increment: int) -> None:
        if stream == 0:
            self.window += increment
        elif stream in self.streams:
            self.streams[stream].window += increment

    def frame(self) -> Frame | None:
        """The next frame, checked. None at the end of the connection."""
        head = self._take(9)
        if head is None:
            return None
        length = int.from_bytes(head[:3], "big")
        if length > self.max_frame_size:
            raise Violation(f"a frame of {length} bytes")
        payload = self._take(length)
        if payload is None:
            raise Violation(f"the connection ends within a frame: {head!r}")
        received = Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
        self.frames.append(received)
        self._check(received)
        return received

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Reads frames until the condition holds."""
        while not condition():
            try:
                received = self.frame()
            except TimeoutError:
                raise Violation(f"no {what}: timeout. {self}") from None
            if received is None and not condition():
                raise Violation(f"no {what}: closed. {self}")

    def response(self, stream: int) -> Stream:
        """Waits for a complete response."""
        found = self.streams[stream]
        self.wait(lambda: found.is_ended or found.reset is not None, f"response on {stream}")
        if found.reset is not None and not (found.is_ended and found.reset == NO_ERROR):
            raise Violation(f"stream {stream} was reset with {found.reset}")
        return found

    def request(self, stream: int, fields: Fields = GET, body: bytes | None = None) -> Stream:
        self.send(headers(stream, fields, end_stream=body is None))
        if body is not None:
            self.send(data(stream, body))
        return self.response(stream)

    def round_trip(self) -> None:
        """Everything sent so far has been processed: a PING has come back."""
        payload = b"trip%04d" % len(self.pings)
        self.send(ping(payload))
        self.wait(lambda: payload in self.pings, "PING acknowledgement")

    def settled(self) -> None:
        """The server's SETTINGS are here, and ours are acknowledged."""
        self.wait(lambda: self.settings_seen and not self.announced, "SETTINGS")

    @property
    def settings_seen(self) -> bool:
        return any(f.kind == SETTINGS and not f.flags & ACK for f in self.frames)

    def until_closed(self) -> None:
        self.wait(lambda: self.is_closed, "end of the connection")

    def __str__(self) -> str:
        return f"Received: {[f._replace(payload=f.payload[:40]) for f in self.frames[-12:]]}"

    def _take(self, size: int) -> bytes | None:
        while len(self.pending) < size:
            try:
                received = self.socket.recv(1 << 17)
            except ConnectionResetError:
                received = b""
            if not received:
                self.is_closed = True
                return None
            self.pending += received
        taken, self.pending = self.pending[:size], self.pending[size:]
        return taken

    def _check(self, received: Frame) -> None:
        kind, flags, stream, payload = received
        if flags & ~KNOWN_FLAGS.get(kind, 0):
            raise Violation(f"undefined flags: {received}")
        if stream >> 31:
            raise Violation(f"the reserved bit is set: {received}")
        if len(self.frames) == 1 and (kind != SETTINGS or flags & ACK):
            raise Violation(f"the first frame is no SETTINGS: {received}")
        if self.fragments and (kind != CONTINUATION or stream != self.fragments[0]):
            raise Violation(f"a frame within a header block: {received}")
        checks = {
            DATA: self._on_data,
            HEADERS: self._on_headers,
            RST_STREAM: self._on_rst_stream,
            SETTINGS: self._on_settings,
            PING: self._on_ping,
            GOAWAY: self._on_goaway,
            WINDOW_UPDATE: self._on_window_update,
            CONTINUATION: self._on_continuation,
        }
        if kind not in checks:
            raise Violation(f"a server may not send this: {received}")
        if (kind in (SETTINGS, PING, GOAWAY)) != (stream == 0) and kind != WINDOW_UPDATE:
            raise Violation(f"on the wrong stream: {received}")
        checks[kind](flags, stream, payload)

    def _open(self, stream: int) -> Stream:
        found = self.streams.get(stream)
        if found is None or found.is_ended or found.reset is not None:
            raise Violation(f"a frame on stream {stream}, which is not open. {self}")
        return found

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        found = self._open(stream)
        if found.fields is None:
            raise Violation(f"DATA before HEADERS on stream {stream}")
        self.window -= len(payload)
        found.window -= len(payload)
        if payload and (self.window < 0 or found.window < 0):
            raise Violation(f"DATA beyond the window: {self.window}, {found.window}")
        content = payload
        if flags & PADDED:
            if not payload or payload[0] >= len(payload):
                raise Violation("more padding than payload")
            content = payload[1 : len(payload) - payload[0]]
        found.pieces.append(content)
        if flags & END_STREAM:
            self._end(stream, found)
        if payload and self.gives_window:
            self.send(window_update(0, len(payload)))
            if not found.is_ended:
                self.send(window_update(stream, len(payload)))

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        self._open(stream)
        if flags & PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        if flags & HAS_PRIORITY:
            payload = payload[5:]
        self.fragments = (stream, flags, payload)
        if flags & END_HEADERS:
            self._end_block()

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self.fragments is None:
            raise Violation("CONTINUATION without HEADERS")
        first, first_flags, fragments = self.fragments
        self.fragments = (first, first_flags, fragments + payload)
        if flags & END_HEADERS:
            self._end_block()

    def _end_block(self) -> None:
        assert self.fragments is not None
        stream, flags, fragments = self.fragments
        self.fragments = None
        fields = [
            (_text(name), _text(value)) for name, value in self.decoder.decode(fragments, raw=True)
        ]
        found = self._open(stream)
        is_trailer = found.fields is not None
        check_fields(fields, is_trailer)
        if is_trailer:
            if not flags & END_STREAM:
                raise Violation(f"trailers without END_STREAM on {stream}")
            found.trailers = fields
        elif fields[0][1].startswith("1"):
            if flags & END_STREAM:
                raise Violation(f"an interim response with END_STREAM on {stream}")
            found.interim.append(fields)
        else:
            found.fields = fields
        if flags & END_STREAM:
            self._end(stream, found)

    def _end(self, stream: int, found: Stream) -> None:
        found.is_ended = True
        length = found.field("content-length")
        has_no_body = found.is_head or found.status in (204, 304)
        if has_no_body and found.body:
            raise Violation(f"a body on stream {stream}: {found.fields}")
        if length is not None and not has_no_body and int(length) != len(found.body):
            raise Violation(f"Content-Length {length}, but {len(found.body)} bytes on {stream}")

    def _on_rst_stream(self, _: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Violation(f"RST_STREAM of {len(payload)} bytes")
        found = self.streams.setdefault(stream, Stream(0))
        if found.reset is not None:
            raise Violation(f"a second RST_STREAM on stream {stream}")
        found.reset = int.from_bytes(payload, "big")

    def _on_settings(self, flags: int, _: int, payload: bytes) -> None:
        if flags & ACK:
            if payload or not self.announced:
                raise Violation("SETTINGS acknowledgement that is not due")
            self._apply(self.announced.pop(0))
            self.acknowledged += 1
            return
        if len(payload) % 6:
            raise Violation(f"SETTINGS of {len(payload)} bytes")
        pairs = dict(struct.iter_unpack(">HI", payload))
        if pairs.get(ENABLE_PUSH, 0) != 0:
            raise Violation("a server may not set ENABLE_PUSH")
        if pairs.get(INITIAL_WINDOW_SIZE, 0) > LARGEST_WINDOW:
            raise Violation(f"settings {pairs}")
        if not 16_384 <= pairs.get(MAX_FRAME_SIZE, 16_384) < 2**24:
            raise Violation(f"settings {pairs}")
        self.settings.update(pairs)
        self.send(settings(flags=ACK))

    def _apply(self, pairs: dict[int, int]) -> None:
        """Our own settings are in force."""
        size = pairs.get(INITIAL_WINDOW_SIZE, self.initial_window)
        for found in self.streams.values():
            found.window += size - self.initial_window
        self.initial_window = size
        self.max_frame_size = pairs.get(MAX_FRAME_SIZE, self.max_frame_size)
        if HEADER_TABLE_SIZE in pairs:
            self.decoder.max_allowed_table_size = pairs[HEADER_TABLE_SIZE]

    def _on_ping(self, flags: int, _: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise Violation(f"PING of {len(payload)} bytes")
        if flags & ACK:
            self.pings.append(payload)
        else:
            self.send(ping(payload, ACK))

    def _on_goaway(self, _: int, __: int, payload: bytes) -> None:
        if len(payload) < 8:
            raise Violation(f"GOAWAY of {len(payload)} bytes")
        last, code = struct.unpack(">II", payload[:8])
        if self.goaways and last > self.goaways[-1][0]:
            raise Violation("the last stream of a GOAWAY grows")
        self.goaways.append((last, code, payload[8:]))

    def _on_window_update(self, _: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4 or not 0 < int.from_bytes(payload, "big") <= LARGEST_WINDOW:
            raise Violation(f"WINDOW_UPDATE {payload!r}")
        if stream and stream not in self.streams:
            raise Violation(f"WINDOW_UPDATE on the idle stream {stream}")
        self.window_updates.append((stream, int.from_bytes(payload, "big")))


def check_fields(fields: list[tuple[str, str]], is_trailer: bool) -> None:
    """A response's fields (RFC 9113 §8.2, §8.3.2)."""
    pseudo = [name for name, _ in fields if name.startswith(":")]
    if pseudo != ([] if is_trailer else [":status"]) or (pseudo and fields[0][0] != ":status"):
        raise Violation(f"pseudo-header fields: {fields}")
    if pseudo and not (len(fields[0][1]) == 3 and fields[0][1].isdigit()):
        raise Violation(f"status {fields[0]}")
    for name, value in fields:
        if name != name.lower() or not name or any(c <= " " or c >= "\x7f" for c in name):
            raise Violation(f"field name {name!r}")
        if any(c in "\r\n\0" for c in value) or value != value.strip(" \t"):
            raise Violation(f"field value {value!r}")
        if name in CONNECTION_SPECIFIC:
            raise Violation(f"a field of the connection: {name}: {value}")


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
