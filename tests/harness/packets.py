"""A web server of the uwsgi protocol: packets out, responses of HTTP/1 in."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.process import Server
from harness.samples import CORPUS, unescape
from harness.wire import Response, Wire


class PacketWire(Wire):
    """A connection of the uwsgi protocol: it closes after each response, which does not say so."""

    names_close = False


Variables = Mapping[str, str] | Sequence[tuple[str, str]]
GET = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "example.com",
    "REMOTE_ADDR": "192.0.2.1",
    "REMOTE_PORT": "4711",
    "SERVER_NAME": "example.com",
    "SERVER_PORT": "80",
}


def variable(name: bytes, value: bytes) -> bytes:
    return struct.pack("<H", len(name)) + name + struct.pack("<H", len(value)) + value


def packet(variables: Variables, body: bytes = b"", modifiers: tuple[int, int] = (0, 0)) -> bytes:
    pairs = variables.items() if isinstance(variables, Mapping) else variables
    block = b"".join(
        variable(key.encode("latin-1"), value.encode("latin-1")) for key, value in pairs
    )
    return struct.pack("<BHB", modifiers[0], len(block), modifiers[1]) + block + body


def get(path: str = "/", **changes: str) -> bytes:
    """A packet as nginx sends it for GET."""
    plain, _, query = path.partition("?")
    return packet(
        {**GET, "REQUEST_URI": path, "PATH_INFO": plain, "QUERY_STRING": query, **changes}
    )


def post(path: str, body: bytes, **changes: str) -> bytes:
    changes = {"CONTENT_LENGTH": str(len(body)), **changes}
    return get(path, REQUEST_METHOD="POST", **changes) + body


def ask(server: Server | tuple[str, int] | str, data: bytes, method: str = "GET") -> Response:
    """Sends `data` on a new connection and reads one response; then the peer must close."""
    address = server.address if isinstance(server, Server) else server
    with PacketWire(address) as wire:
        wire.send_while_open(data)
        response = wire.response(method)
        if response.framing != "close":
            wire.expect_close()
        # Connection would reach the client of the web server, and uwsgi has no chunks.
        assert response.header("Connection") is None, response.headers
        assert response.header("Transfer-Encoding") is None, response.headers
    return response


@dataclass
class PacketSample:
    """A file of corpus/uwsgi."""

    path: Path
    data: bytes
    expect: str
    limits: dict[str, str]

    @property
    def status(self) -> int | None:
        """The last status; None if nothing was sent."""
        return int(self.expect.split(" + ")[-1][:3]) if self.expect else None


def read_packets() -> list[PacketSample]:
    return [read_packet(path) for path in sorted((CORPUS / "uwsgi").glob("*.packet"))]


def read_packet(path: Path) -> PacketSample:
    head, _, rest = path.read_text("utf-8").partition("---\n")
    notes = dict(line[2:].partition(":")[::2] for line in head.splitlines())
    notes = {key: value.strip() for key, value in notes.items()}
    first, second = map(int, notes.get("modifiers", "0 0").split())
    if rest.startswith("raw\n"):
        data = unescape(rest[4:].replace("\n", ""))
    else:
        pairs = [line.partition("=")[::2] for line in rest.splitlines()]
        decoded = [[unescape(part).decode("latin-1") for part in pair] for pair in pairs]
        data = packet(
            [(key, value) for key, value in decoded],
            unescape(notes.get("body", "")),
            (first, second),
        )
    limits = dict(pair.split("=") for pair in notes.get("limits", "").split())
    return PacketSample(path, data, notes["expect"], limits)
