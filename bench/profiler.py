"""What a profile costs, and whether it is right: `.venv/bin/python bench/profiler.py`.

Requests per second: the server answers the same load without a profile, while Lockgate profiles
itself, and while py-spy records it (if it is installed), in turns of a few seconds; each round has
all of them, in alternating order. Lines: the share of each line in the CPU time, as Lockgate and
py-spy see it. Instructions: what a sample costs the worker, under callgrind, without the kernel's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from lockgate.admin_client import Unreachable, read_status
from lockgate.profiling import ask_for_profile

import load
from catalogue import Scenario
from instructions import counted
from process import BENCH, BUILD, DidNotServe, free_port, process_tree

APPS = {
    "a Flask view": ("flask_apps:app", "/json"),
    "a Django view": ("django_view:application", "/"),
}
RATE = 100
START_SECONDS = 20.0
# Under callgrind everything is about fifty times slower.
SLOW_START_SECONDS = 120.0
STOP_SECONDS = 60.0
LINES = 12


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the profiler.")
    parser.add_argument("-r", "--rounds", type=int, default=7, help="default: 7")
    parser.add_argument("-s", "--seconds", type=int, default=5, help="of a turn (default: 5)")
    parser.add_argument("--threads", type=int, default=4, help="of the worker (default: 4)")
    parser.add_argument("--unpinned", action="store_true", help="the kernel chooses the cores")
    parser.add_argument("--no-instructions", action="store_true", help="without callgrind")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        print("bench: wrk is missing: apt install wrk", file=sys.stderr)
        return 2
    BUILD.mkdir(exist_ok=True)
    spy = find_py_spy()
    if spy is None:
        print("bench: py-spy is missing: pip install py-spy", file=sys.stderr)
    failed = False
    for name, (app, path) in APPS.items():
        try:
            compare(name, app, path, spy, options)
        except (DidNotServe, load.LoadFailed, OSError) as error:
            print(f"bench: {name}: {error}", file=sys.stderr)
            failed = True
    if not options.no_instructions:
        try:
            print_instructions()
        except (DidNotServe, OSError) as error:
            print(f"bench: instructions: {error}", file=sys.stderr)
            failed = True
    return int(failed)


def find_py_spy() -> str | None:
    for folder in (Path(sys.prefix) / "bin", BENCH / ".venv" / "bin"):
        if (folder / "py-spy").exists():
            return str(folder / "py-spy")
    return shutil.which("py-spy")


def compare(name: str, app: str, path: str, spy: str | None, options: argparse.Namespace) -> None:
    turns = ["none", "lockgate", *(["py-spy"] if spy else [])]
    rates: dict[str, list[float]] = {turn: [] for turn in turns}
    lines: dict[str, Counter[str]] = {turn: Counter() for turn in turns}
    command = ["-w", "1", "--threads", str(options.threads)]
    core = None if options.unpinned else 0
    with serve(app, command, core) as server:
        scenario = Scenario(name, "", app, path=path, answer=None)
        client = None if options.unpinned else 1
        seconds = options.seconds
        wrk = load.wrk_command(scenario, server.port, seconds, 2 * options.threads, client)
        load.run(wrk, seconds)
        for number in range(options.rounds):
            for turn in turns[:: 1 if number % 2 == 0 else -1]:
                profiler = begin(turn, spy, server, seconds)
                rates[turn].append(load.run(wrk, seconds).rate)
                lines[turn].update(profiler.lines())
    base = median(rates["none"])
    print(f"\n{name}: {options.rounds} rounds, {RATE} samples a second")
    print("| profile by | requests/s | min..max | of none |\n|---|--:|--:|--:|")
    for turn, found in rates.items():
        middle = median(found)
        spread = f"{min(found):,.0f}..{max(found):,.0f}"
        print(f"| {turn} | {middle:,.0f} | {spread} | {middle / base:.1%} |")
    if spy:
        print_lines(lines["lockgate"], lines["py-spy"])


def print_lines(own: Counter[str], other: Counter[str]) -> None:
    """Shares of the CPU time by line, and how much of them agrees."""
    shares = [
        {line: count / max(1, sum(counts.values())) for line, count in counts.items()}
        for counts in (own, other)
    ]
    every = set(shares[0]) | set(shares[1])
    common = sum(min(part.get(line, 0.0) for part in shares) for line in every)
    print("\n| line | lockgate | py-spy |\n|---|--:|--:|")
    for line in sorted(every, key=lambda line: -max(part.get(line, 0.0) for part in shares))[
        :LINES
    ]:
        found = " | ".join(f"{part.get(line, 0.0):.1%}" for part in shares)
        print(f"| {line} | {found} |")
    print(f"| common to both, of all {len(every)} lines | {common:.1%} | {common:.1%} |")


class Served:
    def __init__(self, process: subprocess.Popen[bytes], port: int, admin: str) -> None:
        self.process = process
        self.port = port
        self.admin = admin

    def worker(self) -> int:
        """The pid of the only worker: the child that has the threads of requests."""
        return int(read_status(self.admin)["workers"][0]["pid"])


@contextmanager
def serve(
    app: str, arguments: list[str], core: int | None, prefix: tuple[str, ...] = ()
) -> Iterator[Served]:
    port = free_port()
    admin = f"unix:{BUILD}/profiler-{port}.sock"
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    command = [sys.executable, "-m", "lockgate", app, "-b", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*pinned, *prefix, *command, "--admin-bind", admin, *arguments],
        cwd=BENCH,
        # The same hashes, and so the same dictionaries, in each run.
        env=os.environ | {"PYTHONPATH": ".", "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    pids = [process.pid]
    try:
        deadline = time.monotonic() + (SLOW_START_SECONDS if prefix else START_SECONDS)
        while not serves(admin):
            if time.monotonic() > deadline or process.poll() is not None:
                raise DidNotServe(f"did not serve: {' '.join(command)}")
            time.sleep(0.1)
        pids = process_tree(process.pid)
        yield Served(process, port, admin)
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise DidNotServe("did not stop") from None
    finally:
        if process.poll() is None:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(STOP_SECONDS)


def serves(admin: str) -> bool:
    try:
        return any(worker["state"] == "serving" for worker in read_status(admin)["workers"])
    except Unreachable:
        return False


class NoProfile:
    def lines(self) -> Counter[str]:
        return Counter()


class OwnProfile:
    """A profile of Lockgate's own, requested by a thread that waits meanwhile."""

    def __init__(self, server: Served, seconds: int) -> None:
        self.found = b""
        query = {"seconds": seconds, "rate": RATE, "format": "json"}
        self.thread = threading.Thread(target=self.ask, args=(server.admin, query, seconds))
        self.thread.start()

    def ask(self, admin: str, query: dict[str, object], seconds: int) -> None:
        try:
            self.found = ask_for_profile(admin, query, seconds)
        except Unreachable as error:
            print(f"bench: {error}", file=sys.stderr)

    def lines(self) -> Counter[str]:
        self.thread.join()
        if not self.found:
            raise DidNotServe("there is no profile")
        counts: Counter[str] = Counter()
        for line in json.loads(self.found)["lines"]:
            # Microseconds of CPU time.
            place = f"{line['function']} ({Path(line['file']).name}:{line['line']})"
            counts[place] += round(line["self_cpu"] * 1e6)
        return counts


class SpyProfile:
    """A profile of py-spy, which counts threads that are not idle."""

    def __init__(self, spy: str, server: Served, seconds: int) -> None:
        self.file = BUILD / f"py-spy-{server.port}.txt"
        command = [spy, "record", "--pid", str(server.worker()), "--rate", str(RATE)]
        command += ["--duration", str(seconds), "--format", "raw", "--output", str(self.file)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.patience = seconds + 30

    def lines(self) -> Counter[str]:
        _, errors = self.process.communicate(timeout=self.patience)
        if self.process.returncode:
            raise DidNotServe(f"py-spy: {errors.strip().splitlines()[-1]}")
        counts: Counter[str] = Counter()
        for row in self.file.read_text().splitlines():
            stack, _, count = row.rpartition(" ")
            place = stack.rpartition(";")[2]
            # What starts a thread, and the server itself; Lockgate's profiles leave it out.
            if re.search(r"\((threading|__main__)\.py:", place):
                continue
            found = re.fullmatch(r"(.*) \((?:.*/)?([^/]*:\d+)\)", place)
            counts[f"{found[1]} ({found[2]})" if found else place] += int(count)
        self.file.unlink()
        return counts


def begin(
    turn: str, spy: str | None, server: Served, seconds: int
) -> NoProfile | OwnProfile | SpyProfile:
    if turn == "lockgate":
        return OwnProfile(server, seconds)
    if turn == "py-spy" and spy:
        return SpyProfile(spy, server, seconds)
    return NoProfile()


def print_instructions() -> None:
    """Of a sample, with threads that sleep in views: a longer profile minus a shorter one."""
    if not shutil.which("valgrind"):
        print("bench: valgrind is missing: apt install valgrind", file=sys.stderr)
        return
    rows = []
    for asleep in (0, 4):
        (few, at_few), (many, at_many) = (sampled(asleep, seconds) for seconds in (3, 9))
        rows.append(f"| {asleep} | {(at_many - at_few) / (many - few):,.0f} | {many - few} |")
    print("\n| threads in a view | instructions/sample of the worker | samples |\n|--:|--:|--:|")
    print("\n".join(rows))


def sampled(asleep: int, seconds: int) -> tuple[int, int]:
    """How often a worker was sampled, and the instructions of its processes from start to stop."""
    folder = BUILD / f"callgrind-profiler-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    out = f"{folder.relative_to(BENCH)}/out.%p"
    valgrind = (sys.executable, "without_auxv.py", "valgrind", "--tool=callgrind")
    prefix = (*valgrind, f"--callgrind-out-file={out}")
    arguments = ["-w", "1", "--threads", str(max(1, asleep)), "--timeout", "0"]
    try:
        with serve("apps:asleep", arguments, None, prefix) as server:
            waiting = [ask(server.port, seconds + 5) for _ in range(asleep)]
            query = {"seconds": seconds, "rate": 20, "format": "json"}
            found = json.loads(ask_for_profile(server.admin, query, seconds + 30.0))
            for connection in waiting:
                with connection:
                    connection.recv(1)
        return found["rounds"], sum(map(counted, folder.glob("out.*")))
    except Unreachable as error:
        raise DidNotServe(str(error)) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ask(port: int, seconds: int) -> socket.socket:
    """Sends a request to a view that sleeps for that time."""
    connection = socket.create_connection(("127.0.0.1", port), SLOW_START_SECONDS)
    connection.sendall(f"GET /?{seconds} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return connection


if __name__ == "__main__":
    sys.exit(main())
