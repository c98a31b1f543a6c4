"""A strict client: raw bytes out, strictly parsed responses in.

It knows RFC 9112 and no server. What an ordinary client forgives is an error here.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([0-9]{3}) ([\t\x20-\x7e\x80-\xff]*)")
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]+")


class Malformed(AssertionError):
    """The server sent something that RFC 9112 does not allow."""


class Truncated(AssertionError):
    """The connection ended inside a response."""


@dataclass
class Response:
    status: int
    reason: str
    version: str
    headers: list[tuple[str, str]]
    framing: str = "none"  # none, length, chunked or close
    length: int = 0
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        values = self.all(name)
        if len(values) > 1:
            raise Malformed(f"{name} occurs {len(values)} times: {values}")
        return values[0] if values else None

    def wants_close(self) -> bool:
        options = ",".join(self.all("Connection")).lower().replace(" ", "").split(",")
        return "close" in options or (self.version == "1.0" and "keep-alive" not in options)


class Wire:
    """One connection. `address` is (host, port) or the path of a unix socket."""

    #: Whether a body that ends with the connection needs `Connection: close`.
    names_close = True

    def __init__(self, address: tuple[str, int] | str, timeout: float = 15.0) -> None:
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout=timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""
        self.was_reset = False

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def send_while_open(self, piece: bytes) -> bool:
        """Sends what the peer will take; False once it has closed its side."""
        try:
            self.socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def finish_sending(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def response(self, method: str = "GET") -> Response:
        """Reads exactly one response, an interim one included."""
        return self.body_of(self.head(method))

    def body_of(self, response: Response) -> Response:
        """Reads the body of a response whose head was read."""
        if response.framing == "length":
            response.body = self._take(response.length)
        elif response.framing == "chunked":
            while True:
                piece = self.chunk()
                if not piece:
                    break
                response.chunks.append(piece)
            response.body = b"".join(response.chunks)
        elif response.framing == "close":
            response.body = self.rest()
        return response

    def head(self, method: str = "GET") -> Response:
        """Reads the head of one response and says how its body is framed."""
        lines = self._take_through(b"\r\n\r\n")[:-4].split(b"\r\n")
        matched = STATUS_LINE.fullmatch(lines[0])
        if not matched:
            raise Malformed(f"status line {lines[0]!r}")
        headers = []
        for line in lines[1:]:
            pair = FIELD_LINE.fullmatch(line)
            if not pair:
                raise Malformed(f"field line {line!r}")
            headers.append((pair[1].decode("latin-1"), pair[2].decode("latin-1")))
        response = Response(
            status=int(matched[2]),
            reason=matched[3].decode("latin-1"),
            version="1." + matched[1].decode(),
            headers=headers,
        )
        self._decide_framing(response, method)
        return response

    def part(self, size: int) -> bytes:
        """Reads that number of bytes of a body that has no chunks."""
        return self._take(size)

    def has_begun(self) -> bool:
        """Waits for the first byte of a response; False when the connection ends before it."""
        return bool(self.pending) or self.receive()

    def chunk(self) -> bytes:
        """Reads one chunk; b"" is the last one, with its final CRLF and no trailers."""
        line = self._take_through(b"\r\n")[:-2]
        if not CHUNK_LINE.fullmatch(line):
            raise Malformed(f"chunk line {line!r}")
        size = int(line, 16)
        data = self._take(size)
        if self._take(2) != b"\r\n":
            raise Malformed("a chunk does not end in CRLF")
        return data

    def rest(self) -> bytes:
        """Reads until the peer closes."""
        while self.receive():
            pass
        rest, self.pending = self.pending, b""
        return rest

    def expect_close(self) -> None:
        """The peer closes, and not one byte comes before that."""
        rest = self.rest()
        if rest:
            raise Malformed(f"bytes after the response: {rest[:200]!r}")

    def _decide_framing(self, response: Response, method: str) -> None:
        lengths = response.all("Content-Length")
        codings = response.all("Transfer-Encoding")
        if len(lengths) > 1 or any(not re.fullmatch("[0-9]+", length) for length in lengths):
            raise Malformed(f"Content-Length {lengths}")
        if codings and codings != ["chunked"]:
            raise Malformed(f"Transfer-Encoding {codings}")
        if lengths and codings:
            raise Malformed("both Content-Length and Transfer-Encoding")
        if codings and response.version == "1.0":
            raise Malformed("chunked in HTTP/1.0")
        if response.status < 200 or response.status == 204:
            if lengths or codings:
                raise Malformed(f"framing headers in a {response.status}: {response.headers}")
            return
        if method == "HEAD" or response.status == 304:
            return
        if codings:
            response.framing = "chunked"
        elif lengths:
            response.framing, response.length = "length", int(lengths[0])
        else:
            response.framing = "close"
            if self.names_close and not response.wants_close():
                raise Malformed("a body until close on a connection that claims to stay open")

    def _take(self, size: int) -> bytes:
        pieces = []
        while size > len(self.pending):
            pieces.append(self.pending)
            size -= len(self.pending)
            self.pending = b""
            if not self.receive():
                raise Truncated(f"{size} bytes missing after {b''.join(pieces)[-100:]!r}")
        pieces.append(self.pending[:size])
        self.pending = self.pending[size:]
        return b"".join(pieces)

    def _take_through(self, end: bytes) -> bytes:
        while end not in self.pending:
            if not self.receive():
                raise Truncated(f"no {end!r} in {self.pending[:200]!r}")
        taken, _, self.pending = self.pending.partition(end)
        return taken + end

    def receive(self) -> bool:
        """Takes what has arrived into `pending`; False at the end of the connection."""
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            self.was_reset = True
            return False
        self.pending += data
        return bool(data)


def request(
    method: str = "GET",
    target: str = "/",
    *headers: str,
    body: bytes | None = None,
    version: str = "1.1",
    host: str | None = "lockgate.test",
) -> bytes:
    """The bytes of one request; headers are whole lines, `body` brings its Content-Length."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines.extend(headers)
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(pieces: Iterable[bytes], *trailers: str) -> bytes:
    """A chunked body, with its last chunk and trailers."""
    encoded = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return encoded + "\r\n".join(["0", *trailers, "", ""]).encode("latin-1")


def converse(
    address: tuple[str, int] | str, pieces: Iterable[bytes], patience: float
) -> tuple[list[Response], str]:
    """Sends pieces, ends its side, and gives every response and how the connection ended:
    closed, reset, hang, or malformed and why."""
    responses: list[Response] = []
    with Wire(address, timeout=patience) as wire:
        try:
            for piece in pieces:
                if not wire.send_while_open(piece):
                    break
            # Some conversations end within a request: the client stops sending and still reads.
            wire.finish_sending()
        except OSError:
            pass  # closed already; what it said is still to be read
        try:
            while wire.pending or wire.receive():
                responses.append(wire.response())
            return responses, "reset" if wire.was_reset else "closed"
        except TimeoutError:
            return responses, "hang"
        except Truncated as error:
            return responses, "reset" if wire.was_reset else f"malformed: {error}"
        except Malformed as error:
            return responses, f"malformed: {error}"
