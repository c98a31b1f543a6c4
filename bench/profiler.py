"""What a profile costs, and whether it is right: `.venv/bin/python bench/profiler.py`.

Requests per second, and CPU time of the worker per request: the server answers the same load
without a profile, while Lockgate profiles itself, and while py-spy records it (if it is installed),
in turns of a few seconds; each round has all of them, in alternating order. Lines: the share of
each line in the CPU time, as Lockgate and py-spy see it. Cost: the CPU time of the thread that
samples, the kernel's included. Instructions, with --instructions: what a sample of all threads adds
under callgrind, to the same number of requests; the kernel's are not counted.
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
from instructions import instructions_while, per_request
from process import BENCH, BUILD, TICKS, DidNotServe, free_port, process_stat, process_tree

APPS = {
    "a Flask view": ("flask_apps:app", "/json"),
    "a Django view": ("django_view:application", "/"),
}
RATE = 100
START_SECONDS = 20.0
STOP_SECONDS = 60.0
#: How long the cost of a sample is measured.
SAMPLED_SECONDS = 5
LINES = 12
#: The time of a profile under callgrind, and how many requests are answered before it.
COUNTED_SECONDS = 10
UNCOUNTED_REQUESTS = 20


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the profiler.")
    parser.add_argument("-r", "--rounds", type=int, default=7, help="default: 7")
    parser.add_argument("-s", "--seconds", type=int, default=5, help="of a turn (default: 5)")
    parser.add_argument("--threads", type=int, default=4, help="of the worker (default: 4)")
    parser.add_argument("--unpinned", action="store_true", help="the kernel chooses the cores")
    parser.add_argument("--instructions", action="store_true", help="only count instructions")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        print("bench: wrk is missing: apt install wrk", file=sys.stderr)
        return 2
    BUILD.mkdir(exist_ok=True)
    if options.instructions:
        try:
            print_instructions()
        except (DidNotServe, Unreachable, load.LoadFailed, OSError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        return 0
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
    try:
        print_cost_of_a_sample()
    except (DidNotServe, Unreachable, OSError) as error:
        print(f"bench: the cost of a sample: {error}", file=sys.stderr)
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
    costs: dict[str, list[float]] = {turn: [] for turn in turns}
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
                used = cpu_seconds(server.worker())
                found = load.run(wrk, seconds)
                rates[turn].append(found.rate)
                used = cpu_seconds(server.worker()) - used
                costs[turn].append(used / found.requests * 1e6)
                lines[turn].update(profiler.lines())
    print(f"\n{name}: {options.rounds} rounds, {RATE} samples a second; differences are paired")
    print(
        "| profile by | requests/s | min..max | | µs of CPU/request | |\n|---|--:|--:|--:|--:|--:|"
    )
    for turn, found in rates.items():
        spread = f"{min(found):,.0f}..{max(found):,.0f}"
        print(
            f"| {turn} | {median(found):,.0f} | {spread} | {difference(found, rates['none'])}"
            f" | {median(costs[turn]):,.2f} | {difference(costs[turn], costs['none'])} |"
        )
    if spy:
        print_lines(lines["lockgate"], lines["py-spy"])


def difference(ones: list[float], others: list[float]) -> str:
    return f"{median(one / other - 1 for one, other in zip(ones, others, strict=True)):+.1%}"


def cpu_seconds(pid: int) -> float:
    """The CPU time of all threads of a process, those that have ended too."""
    fields = process_stat(pid)
    if fields is None:
        raise DidNotServe("the worker has ended")
    return (int(fields[11]) + int(fields[12])) / TICKS


def print_lines(own: Counter[str], other: Counter[str]) -> None:
    """Shares of the CPU time by line, and how much of them agrees."""
    parts = [shares(own), shares(other)]
    every = set(parts[0]) | set(parts[1])
    print("\n| line | lockgate | py-spy |\n|---|--:|--:|")
    for line in sorted(every, key=lambda line: -max(part.get(line, 0.0) for part in parts))[:LINES]:
        found = " | ".join(f"{part.get(line, 0.0):.1%}" for part in parts)
        print(f"| {line} | {found} |")
    by_function = [shares(functions(counts)) for counts in (own, other)]
    print(f"| common to both, by line | {common(*parts):.1%} | of {len(every)} lines |")
    print(f"| common to both, by function | {common(*by_function):.1%} | |")


def shares(counts: Counter[str]) -> dict[str, float]:
    whole = max(1, sum(counts.values()))
    return {name: count / whole for name, count in counts.items()}


def functions(lines: Counter[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line, count in lines.items():
        counts[line.rpartition(":")[0]] += count
    return counts


def common(one: dict[str, float], other: dict[str, float]) -> float:
    return sum(min(share, other.get(name, 0.0)) for name, share in one.items())


class Served:
    def __init__(self, process: subprocess.Popen[bytes], port: int, admin: str) -> None:
        self.process = process
        self.port = port
        self.admin = admin

    def worker(self) -> int:
        """The pid of the only worker: the child that has the threads of requests."""
        return int(read_status(self.admin)["workers"][0]["pid"])


@contextmanager
def serve(app: str, arguments: list[str], core: int | None) -> Iterator[Served]:
    port = free_port()
    admin = f"unix:{BUILD}/profiler-{port}.sock"
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    command = [sys.executable, "-m", "lockgate", app, "-b", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*pinned, *command, "--admin-bind", admin, *arguments],
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
        deadline = time.monotonic() + START_SECONDS
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
            if re.search(r"\((.*/)?(threading|__main__)\.py:", place):
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


def print_cost_of_a_sample() -> None:
    """The CPU time of the thread that samples, by what the threads of requests do."""
    rows = []
    for threads, what, app, path in [
        (1, "no request", "apps:asleep", ""),
        (4, "asleep", "apps:asleep", "/?{}"),
        (16, "asleep", "apps:asleep", "/?{}"),
        (4, "computing", "apps:spin", "/?{}"),
    ]:
        with serve(app, ["-w", "1", "--threads", str(threads)], None) as server:
            asked = [send(server.port, path.format(SAMPLED_SECONDS + 3)) for _ in range(threads)]
            time.sleep(1)
            clock = sampling_clock(server.worker())
            before = cpu_nanoseconds(clock)
            query = {"seconds": SAMPLED_SECONDS, "rate": RATE, "format": "json"}
            found = json.loads(ask_for_profile(server.admin, query, SAMPLED_SECONDS))
            used = (cpu_nanoseconds(clock) - before) / 1000 / found["rounds"]
            for connection in asked:
                with connection:
                    connection.recv(1)
        rows.append(f"| {threads} | {what} | {used:,.0f} | {used * RATE / 1e6:.2%} |")
    print(f"\n| threads | they are | µs of CPU/round | of a CPU at {RATE} Hz |\n|--:|---|--:|--:|")
    print("\n".join(rows))


class ProfileUnderCallgrind:
    """Wants requests until a profile of them has ended, which begins when some are answered."""

    def __init__(self, admin: str) -> None:
        self.profile = threading.Thread(target=self.ask, args=(admin,))
        self.answered = 0
        self.rounds = 0

    def ask(self, admin: str) -> None:
        query = {"seconds": COUNTED_SECONDS, "rate": RATE, "format": "json"}
        try:
            answer = ask_for_profile(admin, query, COUNTED_SECONDS)
        except Unreachable as error:
            print(f"bench: {error}", file=sys.stderr)
        else:
            self.rounds = json.loads(answer)["rounds"]

    def is_wanted(self, answered: int) -> bool:
        self.answered = answered
        if answered == UNCOUNTED_REQUESTS:
            self.profile.start()
        return answered <= UNCOUNTED_REQUESTS or self.profile.is_alive()


def print_instructions() -> None:
    """What a profile adds to a worker with one thread that answers all the time."""
    app = "flask_apps:app"
    admin = f"unix:{BUILD}/callgrind-{free_port()}.sock"
    command = f"{sys.executable} -m lockgate {app} -b 127.0.0.1:{{port}} --timeout 0"
    command += f" -w 1 --threads 1 --admin-bind {admin}"
    profile = ProfileUnderCallgrind(admin)
    profiled = instructions_while(command, profile.is_wanted)
    if not profile.rounds:
        raise DidNotServe("there is no profile")
    without = instructions_while(command, lambda answered: answered < profile.answered)
    sample = (profiled - without) / profile.rounds
    request = per_request(command, profile.answered)
    with serve(app, ["-w", "1", "--threads", "1"], 0) as server:
        scenario = Scenario("hello", "", app, path="/", answer=None)
        wrk = load.wrk_command(scenario, server.port, SAMPLED_SECONDS, 2, 1)
        rate = load.run(wrk, SAMPLED_SECONDS).rate
    share = RATE * sample / (rate * request)
    print(f"| instructions/sample | instructions/request | requests/s | at {RATE} Hz |")
    print("|--:|--:|--:|--:|")
    print(f"| {sample:,.0f} | {request:,.0f} | {rate:,.0f} | {share:+.2%} |")


def sampling_clock(pid: int) -> Path:
    """Where the kernel counts the thread that makes profiles; its name is cut."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().startswith("lockgate-profi"):
            return task / "schedstat"
    raise DidNotServe("the worker has no thread for profiles")


def cpu_nanoseconds(schedstat: Path) -> int:
    return int(schedstat.read_text().split()[0])


def send(port: int, target: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), START_SECONDS)
    if target:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    else:
        connection.shutdown(socket.SHUT_WR)
    return connection


if __name__ == "__main__":
    sys.exit(main())
