"""Profiles of a worker in which everything changes: each frame must be one that the program has.

python -m soak.profiles [--samples 100000] [--rate 1000]

The application recurses, runs generators, compiles and frees code, and starts threads, in four
requests at a time. A frame with a function, file or line that does not belong together is a fault,
and so is a worker that ends.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

from harness import APPS, Server
from harness.admin import Admin

THREADS = 4
#: Of one profile, and of one request.
PROFILE_SECONDS = 20
REQUEST_SECONDS = 2
#: A stack may change while it is read. More of them than this share cannot be chance.
MOST_FAILED = 0.1
SOURCE = APPS / "sampled.py"
#: The file of code that `execute` compiles, with the name of the function in it.
MADE = re.compile(r"<made (größe_\d_\d)>")
MADE_LINES = 7


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak.profiles", description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=100_000, help="of threads (default: 100000)")
    parser.add_argument("--rate", type=int, default=1000, help="rounds a second (default: 1000)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="lockgate-soak-") as scratch:
        servers: list[Server] = []

        def start(app: str, *arguments: str, **keywords: Any) -> Server:
            servers.append(Server(Path(scratch), app, *arguments, chdir=APPS, **keywords))
            return servers[-1]

        try:
            flags = ["--threads", str(THREADS), "--timeout", "0"]
            admin = Admin(start, Path(scratch), "sampled:app", *flags, workers=1)
            faults = soak(admin, options.samples, options.rate)
        finally:
            for server in servers:
                server.end()
    for fault in faults:
        print(f"soak.profiles: {fault}")
    return int(bool(faults))


def soak(admin: Admin, wanted: int, rate: int) -> list[str]:
    known = lines_of_functions(compile(SOURCE.read_text("utf-8"), str(SOURCE), "exec"))
    faults: list[str] = []
    samples = rounds = failed = 0
    begun = time.monotonic()
    workers = admin.workers()
    with busy(admin.server.port):
        while samples < wanted and not faults:
            text = admin.profile(seconds=PROFILE_SECONDS, rate=rate, format="json")
            profile = json.loads(text)
            samples += round(profile["seconds"] / profile["interval"])
            rounds += profile["rounds"]
            failed += profile["failed"]
            faults += wrong_frames(profile, known)
            if admin.workers() != workers:
                faults.append(f"worker {workers} has ended\n{admin.server.errors}")
    taken = time.monotonic() - begun
    counts = f"{samples:,} samples in {rounds:,} rounds, {failed:,} unreadable, {taken:.0f} s"
    print(f"soak.profiles: Python {sys.version.split()[0]}: {counts}")
    if failed > MOST_FAILED * samples:
        faults.append("too many stacks could not be read")
    return faults


@contextmanager
def busy(port: int) -> Iterator[None]:
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", f"/change?{REQUEST_SECONDS}")
            connection.getresponse().read()
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def lines_of_functions(code: CodeType) -> dict[str, set[int]]:
    """The lines of each function in this code, by its name and its qualified name."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    codes = [code]
    while codes:
        one = codes.pop()
        for name in {one.co_name, getattr(one, "co_qualname", one.co_name)}:
            # Python 3.10 has a frame that has not begun in its first line.
            found[name].add(one.co_firstlineno)
            found[name].update(line for _, _, line in one.co_lines() if line is not None)
        codes += [constant for constant in one.co_consts if isinstance(constant, CodeType)]
    return dict(found)


def wrong_frames(profile: dict[str, Any], known: dict[str, set[int]]) -> list[str]:
    """What the profile shows that the program does not have."""
    frames = {(line["function"], line["file"], line["line"]) for line in profile["lines"]}
    return [f"no such frame: {frame}" for frame in sorted(frames) if not exists(*frame, known)]


def exists(function: str, file: str, line: int, known: dict[str, set[int]]) -> bool:
    if made := MADE.fullmatch(file):
        names = {"<module>", made[1], f"{made[1]}.<locals>.<listcomp>", "<listcomp>"}
        return function in names and 0 <= line <= MADE_LINES
    if file.endswith(SOURCE.name):
        # Some instructions have no line.
        return line == 0 or line in known.get(function, set())
    is_cut = function == "…" and not file
    return is_cut or file.endswith(".py") or file.startswith("<")


if __name__ == "__main__":
    sys.exit(main())
