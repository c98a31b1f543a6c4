"""Replays the raw requests of gunicorn's own test suite, and tells where a server differs.

    pip download --no-binary :all: --no-deps gunicorn && tar xzf gunicorn-*.tar.gz
    python tests/replay_gunicorn_corpus.py gunicorn-*/tests/requests            against Lockgate
    python tests/replay_gunicorn_corpus.py gunicorn-*/tests/requests HOST:PORT  serving echoing.py

Each request is sent whole, byte by byte, and cut at random places (--seed) some times (--splits).
A HTTP/1.1 request without Host must be refused (RFC 9112 §3.2); of those samples that have none the
refusal is checked first, and then what comes of the sample with one.
Ends with 1 when there are differences beyond those that docs/supported-http.md explains.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.process import Server, run
from harness.samples import Expected
from harness.wire import Response, converse

PATIENCE = 1.0

#: By file, the paragraph that makes Lockgate differ; docs/supported-http.md has the sentences.
EXPLAINED = {
    "invalid/006": "RFC 9112 §3: request lines of 8000 bytes and more are to be supported",
    "invalid/rfc9112_leading_crlf_02": "RFC 9112 §2.2: at least one empty line is to be ignored",
    "valid/005": "RFC 9110 §7.1: a target has no fragment",
    "valid/009": "RFC 9112 §7: there is no coding called identity; RFC 9110 §7.1: no fragment",
    "valid/024": "RFC 9110 §17.5: sizes are limited; no setting removes that",
    "valid/027": "RFC 9112 §3.2, RFC 3986 §2: bytes outside ASCII are to be percent-encoded",
    "valid/025": "RFC 9112 §6.1: 501 for a coding that is not understood",
    "valid/025_line": "RFC 9112 §6.1: 501 for a coding that is not understood",
    "valid/028": "RFC 9112 §5.1: white space before the colon must be refused",
    "valid/029": "RFC 9112 §7: there is no coding called identity",
    "valid/030": "RFC 9112 §7: there is no coding called identity",
    "valid/031compat": "RFC 9110 §9.1: methods are case-sensitive, and any token is one",
    "valid/099": "RFC 9112 §8: a body shorter than its length is incomplete",
    "valid/compat_obs_fold": "RFC 9112 §5.2: folded lines may be refused",
    "valid/compat_obs_fold_huge": "RFC 9112 §5.2: folded lines may be refused",
    "valid/pp_03": "proxy-protocol.txt §2: whether the header is there must not be guessed",
    "valid/rfc9112_smuggle_gzip_chunked_01": "RFC 9112 §6.1: 501 for a coding not understood",
    "valid/rfc9112_smuggle_te_identity_chunked_01": "RFC 9112 §7: no coding called identity",
    "valid/rfc9112_target_absolute_userinfo_01": "RFC 9110 §4.2.4: user information is an error",
    "valid/rfc9112_target_authority_connect_01": "RFC 9110 §9.3.6: CONNECT is not implemented",
    "valid/rfc9112_target_authority_ipv6_01": "RFC 9110 §9.3.6: CONNECT is not implemented",
}


@dataclass
class Wanted:
    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Case:
    name: str
    data: bytes
    wanted: list[Wanted]  # none: refuse
    settings: dict[str, object] = field(default_factory=dict)


def read_cases(directory: Path) -> list[Case]:
    paths = sorted(directory.glob("*valid/*.http"))
    return [read_case(path) for path in paths]


def read_case(path: Path) -> Case:
    settings: dict[str, object] = {}
    values = evaluate(path.with_suffix(".py"), settings)
    found = values["request"]
    requests = [found] if isinstance(found, dict) else found
    wanted = []
    if path.parent.name == "valid":
        for request in requests:
            version = ".".join(map(str, request["version"]))
            headers, body = request["headers"], request["body"]
            body = body.encode("latin-1") if isinstance(body, str) else body
            wanted.append(Wanted(request["method"], request["uri"], version, headers, body))
    return Case(f"{path.parent.name}/{path.stem}", decode(path.read_bytes()), wanted, settings)


def evaluate(path: Path, settings: dict[str, object]) -> dict[str, object]:
    """What a file assigns; it may name settings, targets and gunicorn's exceptions."""
    config = types.SimpleNamespace(set=settings.__setitem__)

    class Names(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            return (lambda: config) if name == "Config" else name

    values: dict[str, object] = {
        "__builtins__": {"__import__": lambda name, *_: Names(name)},
        "uri": lambda target: target,
        "cfg": config,
    }
    exec(compile(path.read_text("utf-8"), str(path), "exec"), values)
    return {"request": [], **values}


def decode(data: bytes) -> bytes:
    """gunicorn's escapes: line ends of the file mean nothing."""
    data = data.replace(b"\n", b"")
    names = {b"r\\n": b"\r\n", b"0": b"\0", b"n": b"\n", b"t": b"\t"}

    def one(match: re.Match[bytes]) -> bytes:
        name = match[1]
        return bytes([int(name[1:], 16)]) if name.startswith(b"x") else names[name]

    return re.sub(rb"\\(r\\n|x[0-9A-Fa-f]{2}|[0nt])", one, data)


def with_host(case: Case) -> bytes | None:
    """The same requests with a Host, if they are of HTTP/1.1 and lack it."""
    count = sum(wanted.version == "1.1" for wanted in case.wanted)
    if not count or re.search(rb"^host\s*:", case.data, re.IGNORECASE | re.MULTILINE):
        return None
    line = re.compile(rb"^([!-~]+ [^\r\n]+ HTTP/1\.1\r\n)", re.MULTILINE)
    return line.sub(rb"\1Host: lockgate.test\r\n", case.data, count=count)


def ways(data: bytes, splits: int, seed: int) -> Iterator[tuple[str, list[bytes]]]:
    yield "whole", [data]
    yield "bytes", [data[at : at + 1] for at in range(len(data))]
    chance = random.Random(seed)
    for _ in range(splits):
        places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randint(1, 8)))
        places = [0, *places, len(data)]
        pieces = [data[a:b] for a, b in zip(places, places[1:], strict=False)]
        yield "splits", [piece for piece in pieces if piece]


def answers(address: tuple[str, int], pieces: Iterable[bytes]) -> tuple[list[Response], str]:
    """Every final response, and how the connection ended."""
    responses, end = converse(address, pieces, PATIENCE)
    return [response for response in responses if response.status >= 200], end


def difference(case: Case, responses: list[Response], end: str) -> str | None:
    statuses = [response.status for response in responses]
    reported = f"got {' + '.join(map(str, statuses)) or 'nothing'}, {end}"
    if end != "closed":
        return reported
    if not case.wanted:
        # To a client that left within its request, silence is a refusal too.
        refused = not statuses or (400 <= statuses[-1] < 600)
        return None if refused else f"is to be refused, {reported}"
    if statuses != [200] * len(case.wanted):
        return f"wanted {len(case.wanted)} x 200, {reported}"
    for response, wanted in zip(responses, case.wanted, strict=True):
        if Expected(200, wanted.method, wanted.target).is_about_server and not response.body:
            continue  # answered by the server itself (RFC 9110 §9.3.7)
        seen = json.loads(response.body)
        if reason := unlike(seen, wanted):
            return reason
    return None


def unlike(seen: dict, wanted: Wanted) -> str | None:
    pairs = [
        ("method", seen["method"], wanted.method),
        ("protocol", seen["protocol"], f"HTTP/{wanted.version}"),
        ("body", seen["body"].encode("latin-1"), wanted.body),
    ]
    if seen["raw"] is not None:
        pairs.append(("target", seen["raw"], wanted.target))
    merged: dict[str, list[str]] = {}
    for name, value in wanted.headers:
        merged.setdefault(name.upper().replace("-", "_"), []).append(value)
    for name, values in merged.items():
        if name in ("TRANSFER_ENCODING", "CONTENT_LENGTH"):
            continue  # framing: judged by the body
        key = name if name == "CONTENT_TYPE" else f"HTTP_{name}"
        got = (seen["headers"].get(key) or "").replace(", ", ",")
        pairs.append((name, got, ",".join(values).replace(", ", ",")))
    for what, got, want in pairs:
        if got != want:
            return f"{what} is {got!r}, wanted {want!r}"
    return None


class Servers:
    """One server for every set of settings, or the one that is there."""

    def __init__(self, directory: Path, address: str | None) -> None:
        self.directory = directory
        self.given = address
        self.started: dict[tuple[str, ...], Server] = {}

    def for_settings(self, settings: dict[str, object]) -> tuple[tuple[str, int], list[str]]:
        """Its address, and the settings that it does not have."""
        if self.given:
            host, _, port = self.given.rpartition(":")
            return (host, int(port)), list(settings)
        arguments: list[str] = []
        missing = []
        for name, value in settings.items():
            flag = [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
            if run("echoing:app", "--check-config", *flag).returncode == 0:
                arguments += flag
            else:
                missing.append(name)
        key = tuple(arguments)
        if key not in self.started:
            server = Server(self.directory, "echoing:app", "--threads", "1", *arguments)
            self.started[key] = server
        address = self.started[key].address
        assert isinstance(address, tuple)
        return address, missing

    def end(self) -> None:
        for server in self.started.values():
            server.stop()
            server.end()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("requests", type=Path, help="the directory with valid/ and invalid/")
    parser.add_argument("address", nargs="?", help="HOST:PORT instead of the installed Lockgate")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    cases = read_cases(options.requests)
    if not cases:
        parser.error(f"no samples in {options.requests}")
    with tempfile.TemporaryDirectory() as directory:
        servers = Servers(Path(directory), options.address)
        try:
            return replay_all(cases, servers, options.splits, options.seed)
        finally:
            servers.end()


def replay_all(cases: list[Case], servers: Servers, splits: int, seed: int) -> int:
    scores: dict[tuple[str, str], list[int]] = {}
    unexplained, hosts = [], [0, 0]
    for case in cases:
        folder = case.name.partition("/")[0]
        address, missing = servers.for_settings(case.settings)
        data = case.data
        if changed := with_host(case):
            responses, end = answers(address, [data])
            hosts[0] += bool(responses) and 400 <= responses[-1].status < 600 and end == "closed"
            hosts[1] += 1
            data = changed
            for wanted in case.wanted:
                if wanted.version == "1.1":
                    wanted.headers = [("HOST", "lockgate.test"), *wanted.headers]
        reported: dict[str, list[str]] = {}
        for way, pieces in ways(data, splits, seed):
            reason = difference(case, *answers(address, pieces))
            score = scores.setdefault((folder, way), [0, 0])
            score[0] += reason is None
            score[1] += 1
            if reason:
                reported.setdefault(reason, []).append(way)
        for reason, in_ways in reported.items():
            explained = EXPLAINED.get(case.name)
            without = f" [without {', '.join(missing)}]" if missing else ""
            shown = "" if len(in_ways) == 2 + splits else f" ({', '.join(in_ways)} only)"
            print(f"{case.name}: {reason[:200]}{shown}{without}: {explained or 'NOT EXPLAINED'}")
            if not explained:
                unexplained.append(case.name)
    for (folder, way), (good, all_) in sorted(scores.items()):
        print(f"{folder:8} {way:7} {good}/{all_}")
    print(f"refused without Host, as they must be: {hosts[0]}/{hosts[1]}")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
