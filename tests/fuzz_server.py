"""Sends mutated requests to a server and flags answers that cannot be right.

    python tests/fuzz_server.py --seconds 120             the installed Lockgate, started for it
    python tests/fuzz_server.py HOST:PORT --seed 7        any server that serves apps/echoing.py

Each input is one or two samples of corpus/ with a few changes, between two marked requests.
Flagged is:
  malformed   bytes that are no valid response, or a response that is cut off
  hang        neither an answer nor a close within the patience
  excess      more answers than there can be requests: request lines that follow a line end
  smuggled    a marked request was swallowed, or answered twice, on a connection that stayed open
  unlike      h11 reads other requests than the application saw (only when h11 is installed)
  dead        the server no longer answers
Every finding is printed with its seed, and its bytes are written to --artifacts, if that is given.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.process import Server
from harness.samples import Expected, read_samples
from harness.wire import Response, converse

try:
    import h11
except ImportError:
    h11 = None

PATIENCE = 3.0
LONGEST = 20_000
BEFORE = b"GET /before HTTP/1.1\r\nHost: h\r\n\r\n"
AFTER = b"GET /after HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
LINES = [
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 99", b"Content-Length: 005",
    b"content-length:5", b"Content-Length : 5", b"Content-Length: 5, 5", b"Content-Length: +5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding:chunked", b"Transfer-Encoding: Chunked ",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding: x, chunked",
    b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: chunked\x00", b"Transfer_Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked", b"X: y\rContent-Length: 5", b" folded",
    b"Connection: close", b"Connection: keep-alive", b"Expect: 100-continue", b"Host: other",
    b"Upgrade: h2c", b":", b"X", b"Trailer: X", b"TE: trailers", b"Connection: Content-Length",
    b"Connection: Host, close",
]  # fmt: skip
ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n", b"\r\n ", b"\x00\r\n", b"\x0b\r\n", b"\x85"]
SIZES = [
    b"0", b"00", b"5", b"0x5", b"+5", b"-1", b"5 ", b" 5", b"5;a", b"5;a=b", b"5 ;a", b"5;\r",
    b"ffffffffffffffff", b"fffffffffffffffff", b"5_", b"5\t", b"5;a=\"\n\"", b"0;x",
]  # fmt: skip
BYTES = b'\x00\t\n\x0b\x0c\r "#%()*+,-./0:;<=>?@[\\]_{|}\x7f\x80\x85\xa0\xff'


def mutate(data: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.choice([0, 1, 1, 2, 2, 3, 5])):
        data = chance.choice(MUTATIONS)(data, chance)[:LONGEST]
    return data


def change_byte(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + bytes([chance.choice(BYTES)]) + data[at + chance.randrange(2) :]


def add_line(data: bytes, chance: random.Random) -> bytes:
    """A field line of those that decide something, at the end of some line."""
    ends = [match.end() for match in re.finditer(rb"\r\n", data)] or [0]
    at = chance.choice(ends[:8])
    return data[:at] + chance.choice(LINES) + b"\r\n" + data[at:]


def repeat_line(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\r\n")
    at = chance.randrange(len(lines))
    lines.insert(chance.randrange(len(lines) + 1), lines[at])
    return b"\r\n".join(lines)


def drop_line(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\r\n")
    del lines[chance.randrange(len(lines))]
    return b"\r\n".join(lines)


def change_end(data: bytes, chance: random.Random) -> bytes:
    ends = [match.start() for match in re.finditer(rb"\r\n", data)] or [0]
    at = chance.choice(ends)
    return data[:at] + chance.choice(ENDS) + data[at + 2 :]


def change_space(data: bytes, chance: random.Random) -> bytes:
    marks = [match.start() for match in re.finditer(rb"[ :,;=]", data)] or [0]
    at = chance.choice(marks) + chance.randrange(2)
    return data[:at] + chance.choice([b" ", b"\t", b"  ", b"\x0b", b"\xa0"]) + data[at:]


def change_size(data: bytes, chance: random.Random) -> bytes:
    """Another chunk size, or another number."""
    sizes = list(re.finditer(rb"(?m)(?<=\n)[0-9a-fA-F]+(?=[\r;])|[0-9]+", data))
    if not sizes:
        return change_byte(data, chance)
    found = chance.choice(sizes)
    return data[: found.start()] + chance.choice(SIZES) + data[found.end() :]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


MUTATIONS = [change_byte, change_byte, add_line, add_line, repeat_line, drop_line, change_end,
             change_space, change_space, change_size, cut]  # fmt: skip


@dataclass
class Finding:
    kind: str
    seed: str
    data: bytes
    reported: str


def pieces_of(data: bytes, chance: random.Random) -> list[bytes]:
    if chance.random() < 0.6:
        return [data]
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randint(1, 4)))
    places = [0, *places, len(data)]
    return [data[a:b] for a, b in zip(places, places[1:], strict=False) if a < b]


def judge(data: bytes, responses: list[Response], end: str) -> tuple[str, str] | None:
    final = [response for response in responses if response.status >= 200]
    reported = f"{'+'.join(str(response.status) for response in responses)} {end}"
    if end == "hang":
        return "hang", reported
    if end.startswith("malformed"):
        return "malformed", reported
    # An empty one is the server's own answer to OPTIONS *.
    seen = [json.loads(response.body) for response in final if response.status == 200
            and response.body]  # fmt: skip
    lines = len(re.findall(rb"HTTP/[0-9]", data)) + data.count(b"\n\r\n")
    if len(final) > max(lines, 1):
        return "excess", reported
    paths = [request["path"] for request in seen]
    if paths[:1] != ["/before"] or paths.count("/before") != 1 or paths.count("/after") > 1:
        return "smuggled", f"{reported}: {paths}"
    if "/after" in paths and paths[-1] != "/after":
        return "smuggled", f"{reported}: {paths}"
    refused = [at for at, response in enumerate(final) if response.status != 200]
    if refused and refused[0] != len(final) - 1:
        return "smuggled", f"{reported}: an answer behind a refusal"
    if refused and not final[-1].wants_close():
        return "malformed", f"{reported}: a refusal that does not close"
    return unlike(data, seen) if h11 else None


def unlike(data: bytes, seen: list[dict]) -> tuple[str, str] | None:
    """What the application saw, h11 reads too, as long as h11 accepts it."""
    reads = (
        read
        for read in read_by_h11(data)
        if read is None or not Expected(200, read[0], read[1]).is_about_server
    )
    for index, (read, request) in enumerate(zip(reads, seen, strict=False)):
        got = (request["method"], request["raw"], request["body"])
        if read is None:
            return None
        if read != got:
            return "unlike", f"request {index}: h11 {read!r}, application {got!r}"[:400]
    return None


def read_by_h11(data: bytes):
    """Each request as h11 reads it; None where it refuses or waits for more."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    connection.receive_data(b"")
    try:
        while True:
            request, body = None, b""
            while True:
                event = connection.next_event()
                if isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    yield None
                    return
            method, target = request.method.decode("latin-1"), request.target.decode("latin-1")
            yield method, target, body.decode("latin-1")
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        yield None


def fuzz(address: tuple[str, int], seconds: float, seed: int) -> tuple[int, int, list[Finding]]:
    # What is refused as it is cannot be changed to much effect, so it is taken less often.
    samples = [
        data
        for folder, weight in (("http1/valid", 8), ("http1/invalid", 1))
        for data in [sample.data for sample in read_samples(folder)] * weight
        if len(data) < 3000
    ]
    # Answers to HEAD look unlike their requests only to who knows which request they answer.
    samples = [data for data in samples if b"HEAD" not in data]
    findings: list[Finding] = []
    until = time.monotonic() + seconds
    count = accepted = 0
    while time.monotonic() < until and len(findings) < 20:
        name = f"{seed}:{count}"
        chance = random.Random(name)
        middle = b"".join(
            mutate(chance.choice(samples), chance) for _ in range(chance.choice([1, 1, 2]))
        )
        data = BEFORE + middle + AFTER
        count += 1
        try:
            responses, end = converse(address, pieces_of(data, chance), PATIENCE)
        except OSError as error:
            findings.append(Finding("dead", name, data, repr(error)))
            break
        accepted += any(b'"/after"' in response.body for response in responses)
        if b"HEAD" not in data and (wrong := judge(data, responses, end)):
            findings.append(Finding(wrong[0], name, data, wrong[1]))
    return count, accepted, findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", help="HOST:PORT instead of the installed Lockgate")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--artifacts", type=Path, help="a directory for the bytes of findings")
    options = parser.parse_args()
    if options.address:
        host, _, port = options.address.rpartition(":")
        return report(options, *fuzz((host, int(port)), options.seconds, options.seed))
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory), "echoing:app", "--threads", "2")
        try:
            assert isinstance(server.address, tuple)
            done = fuzz(server.address, options.seconds, options.seed)
            if server.process.poll() is not None or "panicked" in server.errors:
                print(server.errors[-2000:], file=sys.stderr)
                return 1
            return report(options, *done)
        finally:
            server.stop()
            server.end()


def report(options: argparse.Namespace, count: int, accepted: int, found: list[Finding]) -> int:
    for number, finding in enumerate(found):
        print(f"{finding.kind}  seed {finding.seed}  {finding.reported}\n    {finding.data!r}")
        if options.artifacts:
            options.artifacts.mkdir(parents=True, exist_ok=True)
            (options.artifacts / f"{finding.kind}-{number}").write_bytes(finding.data)
    oracle = "with h11" if h11 else "without h11 (pip install h11 to compare with it)"
    print(f"{count} inputs, {accepted} read to their end, {len(found)} findings, {oracle}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
