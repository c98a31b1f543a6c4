"""Attacks a server and measures what a well-behaved client sees meanwhile; see `attacks.py --help`.

The server has one worker and one thread: whatever an attack can hold is then missed at once.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import machine
from attackers import ATTACKS, HOST, Attackers, allow_descriptors
from catalogue import Scenario, Server
from process import BUILD, DidNotServe, Running, process_tree

LOCKGATE = f"{sys.executable} -m lockgate {{app}} -b 127.0.0.1:{{port}} -w 1 --threads 1"
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
# The interval and the timeout of a client that behaves.
PAUSE = 0.005
PATIENCE = 5.0
# What connections cost is given back when they are gone.
SETTLE_SECONDS = 2.0


@dataclass
class Seen:
    """What the well-behaved client has seen, and the memory of the server meanwhile."""

    latencies: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    # Of the first request after all attackers had come: it waits for what they asked for.
    first: float = 0.0
    before: float = 0.0
    peak: float = 0.0
    after: float = 0.0

    def row(self, name: str) -> str:
        ordered = sorted(self.latencies)
        p50, p99 = (ordered[int((len(ordered) - 1) * share)] for share in (0.5, 0.99))
        times = " | ".join(f"{1000 * value:.1f}" for value in (self.first, p50, p99, ordered[-1]))
        memory = " | ".join(f"{value:.1f}" for value in (self.before, self.peak, self.after))
        errors = ", ".join(f"{count} {kind}" for kind, count in self.errors.items()) or "none"
        return f"| {name} | {len(ordered)} | {times} | {errors} | {memory} |"


HEADING = """\
| attack | requests | first ms | p50 ms | p99 ms | max ms | errors | RSS before | at peak | after |
|---|---:|---:|---:|---:|---:|---|---:|---:|---:|"""


def main() -> int:
    options = arguments()
    names = [*ATTACKS] if options.attacks == "all" else options.attacks.split(",")
    if unknown := [name for name in names if name not in ATTACKS]:
        print(f"attacks: no attack is called {', '.join(unknown)}: see --list", file=sys.stderr)
        return 2
    if options.list:
        for name, attack in ATTACKS.items():
            print(f"{name:12} {attack.about}")
        return 0
    BUILD.mkdir(exist_ok=True)
    allow_descriptors(options.clients + 1000)
    notes = machine.notes(sys.executable)
    print(f"{options.clients} hostile clients, {options.seconds} s each: `{options.server}`")
    print(f"{notes['processor']}, {notes['cores']} cores, {notes['kernel']}, {notes['commit']}\n")
    print(HEADING, flush=True)
    failed = 0
    for name in ["none", *names]:
        if name in ATTACKS and (reason := ATTACKS[name].obstacle()):
            print(f"| {name} | skipped: {reason} |", flush=True)
            continue
        try:
            seen = measure(name, options)
        except DidNotServe as error:
            print(f"| {name} | did not serve: {error} |", flush=True)
            failed += 1
            continue
        print(seen.row(name), flush=True)
    return int(failed > 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Attack a server, and see what others notice.")
    add = parser.add_argument
    add("-a", "--attacks", default="all", help="names, or all")
    add("-c", "--clients", type=int, default=1000, help="hostile connections (default: 1000)")
    add("-d", "--seconds", type=float, default=10, help="of an attack (default: 10)")
    add("--server", default=LOCKGATE, help="another command; it may name {app} and {port}")
    add("--unpinned", action="store_true", help="let the kernel place server and clients")
    add("--list", action="store_true", help="the attacks")
    options = parser.parse_args()
    if options.clients < 1 or options.seconds <= 0:
        parser.error("clients and seconds must be more than none")
    return options


def measure(name: str, options: argparse.Namespace) -> Seen:
    cores = machine.cores()
    is_pinned = len(cores) > 1 and not options.unpinned
    scenario = Scenario("attacked", "attacked", "apps:attacked")
    seen = Seen()
    with Running(
        Server("attacked", options.server), scenario, cores[0] if is_pinned else None
    ) as it:
        if is_pinned:
            # Attackers and the client that behaves share what the server does not have.
            os.sched_setaffinity(0, cores[1:])
        try:
            ask(it.port, 0.5, it.process.pid, Seen())
            seen.before = resident(it.process.pid)
            if name in ATTACKS:
                with Attackers(ATTACKS[name], it.port, options.clients, options.seconds):
                    began = time.monotonic()
                    ask(it.port, PAUSE, it.process.pid, Seen())
                    seen.first = time.monotonic() - began
                    ask(it.port, options.seconds, it.process.pid, seen)
            else:
                ask(it.port, options.seconds, it.process.pid, seen)
            ask(it.port, SETTLE_SECONDS, it.process.pid, Seen())
            seen.after = resident(it.process.pid)
        finally:
            os.sched_setaffinity(0, cores)
    return seen


def ask(port: int, seconds: float, pid: int, seen: Seen) -> None:
    """One request after another, each on a connection of its own."""
    end = time.monotonic() + seconds
    looked = 0.0
    while (began := time.monotonic()) < end:
        try:
            error = one_request(port)
        except OSError as failure:
            error = type(failure).__name__
        took = time.monotonic() - began
        seen.latencies.append(took)
        if error:
            seen.errors[error] = seen.errors.get(error, 0) + 1
        if began - looked > 0.1:
            looked = began
            seen.peak = max(seen.peak, resident(pid))
        time.sleep(PAUSE)


def one_request(port: int) -> str:
    """What was wrong with the answer, or nothing."""
    with socket.create_connection((HOST, port), timeout=PATIENCE) as client:
        client.sendall(REQUEST)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    if not answer.endswith(b"Hello, World!"):
        return answer[:12].decode("latin-1") or "closed without an answer"
    return ""


def resident(root: int) -> float:
    """MiB of the largest process of the server, which is the one that serves."""
    most = 0
    for pid in process_tree(root):
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        most = max(
            [most, *(int(line.split()[1]) for line in text.splitlines() if "VmRSS:" in line)]
        )
    return most / 1024


if __name__ == "__main__":
    sys.exit(main())
