"""Reads the wire samples in corpus/ (their format is described there)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

CORPUS = Path(__file__).resolve().parent.parent.parent / "corpus"
SIMPLE = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}
REPETITION = re.compile(r"([0-9]+):")


@dataclass
class Expected:
    """A request that arrives, or (with a status of 400 and above) a refusal."""

    status: int
    method: str = ""
    target: str = ""
    framing: str = "none"
    body: bytes = b""
    refusal: str = ""

    @property
    def is_about_server(self) -> bool:
        """`OPTIONS *`, or the same as an absolute target: the server answers, with no body."""
        has_no_path = self.target == "*" or "/" not in self.target.partition("://")[2]
        return self.method == "OPTIONS" and has_no_path and not self.target.startswith("/")


@dataclass
class Sample:
    path: Path
    data: bytes
    expected: list[Expected]
    limits: dict[str, str] = field(default_factory=dict)


def read_samples(folder: str) -> list[Sample]:
    return [read_sample(path) for path in sorted((CORPUS / folder).glob("*.http"))]


FRAME_KINDS = {
    "DATA": 0,
    "HEADERS": 1,
    "PRIORITY": 2,
    "RST_STREAM": 3,
    "SETTINGS": 4,
    "PUSH_PROMISE": 5,
    "PING": 6,
    "GOAWAY": 7,
    "WINDOW_UPDATE": 8,
    "CONTINUATION": 9,
    "PRIORITY_UPDATE": 16,
}


def read_frames(path: Path) -> bytes:
    """The frames of a file in corpus/http2/frames, which come after the prefaces."""
    _, _, lines = path.read_text("ascii").partition("---\n")
    return b"".join(map(read_frame, lines.splitlines()))


def read_frame(line: str) -> bytes:
    kind, flags, stream, *words = line.split()
    payload = b""
    for word in words:
        byte, _, count = word.partition("*")
        payload += bytes.fromhex(byte) * int(count or 1)
    head = bytes((FRAME_KINDS[kind] if kind in FRAME_KINDS else int(kind), int(flags, 16)))
    return len(payload).to_bytes(3, "big") + head + int(stream).to_bytes(4, "big") + payload


def read_sample(path: Path) -> Sample:
    head, _, data = path.read_text("ascii").partition("---\n")
    notes = {}
    for line in head.splitlines():
        key, _, value = line.lstrip("# ").partition(":")
        notes[key] = value.strip()
    limits = dict(pair.split("=") for pair in notes.get("limits", "").split())
    expected = [read_expected(text) for text in notes["expect"].split(" + ")]
    return Sample(path, unescape(data.replace("\n", "")), expected, limits)


def answers_of(sample: Sample) -> list[Expected]:
    """What is answered: a request that is refused within its body never reaches the application."""
    *before, last = sample.expected
    if last.refusal and before and before[-1].framing != "none":
        before.pop()
    return [*before, last]


def read_expected(text: str) -> Expected:
    words = text.split()
    status = int(words.pop(0)) if words[0].isdigit() else 200
    if status >= 400:
        return Expected(status, refusal=words[0])
    body = re.fullmatch(r'.* "(.*)"', text)
    return Expected(
        status,
        method=unescape(words[0]).decode("latin-1"),
        target=unescape(words[1]).decode("latin-1"),
        framing=words[2],
        body=unescape(body[1]) if body else b"",
    )


def unescape(text: str) -> bytes:
    data, end = _unescape_until(text, 0, None)
    assert end == len(text)
    return data


def _unescape_until(text: str, at: int, stop: str | None) -> tuple[bytes, int]:
    out = bytearray()
    while at < len(text):
        if text[at] == stop:
            return bytes(out), at + 1
        if text[at] != "\\":
            out += text[at].encode("ascii")
            at += 1
        elif text[at + 1] == "x":
            out.append(int(text[at + 2 : at + 4], 16))
            at += 4
        elif text[at + 1] == "(":
            counted = REPETITION.match(text, at + 2)
            repeated, at = _unescape_until(text, counted.end(), ")")
            out += repeated * int(counted[1])
        else:
            out += SIMPLE[text[at + 1]]
            at += 2
    return bytes(out), at
