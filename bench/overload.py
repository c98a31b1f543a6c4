"""Goodput under overload: responses in time at three times the capacity of a server.

Requests arrive on their own clock, whether or not earlier ones were answered, each on a connection
of its own; a client that has waited for --patience closes it. Good is a right answer before that.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import shlex
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from process import BENCH, BUILD, free_port

LOCKGATE = (
    "{python} -m lockgate {app} -b 127.0.0.1:{port} -w 1 --threads {threads} --log-level error"
)
# A view, and the threads that it is given.
CASES = {
    "compute-1": ("apps:cpu", 1),
    "compute-4": ("apps:cpu", 4),
    "wait-1": ("apps:sleep10", 1),
    "wait-4": ("apps:sleep10", 4),
}
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
START_SECONDS = 20.0
STOP_SECONDS = 10.0
# Clients of the closed loop that measures capacity, for each thread.
CLOSED_CLIENTS = 4
SLICE = 0.5


@dataclass
class Sent:
    """One request: when it was sent, when it was over, and how it ended."""

    at: float
    end: float = 0.0
    outcome: str = "open"


@dataclass
class Phase:
    seconds: float
    rate: float
    sent: list[Sent] = field(default_factory=list)
    began: float = 0.0

    def good(self) -> float:
        """Good responses per second within the phase, by the time of the response."""
        end = self.began + self.seconds
        return sum(s.outcome == "good" and s.end < end for s in self.sent) / self.seconds

    def slices(self) -> list[float]:
        """Good responses per second, slice by slice."""
        counts = Counter(
            int((s.end - self.began) / SLICE) for s in self.sent if s.outcome == "good"
        )
        return [counts[number] / SLICE for number in range(int(self.seconds / SLICE))]

    def outcomes(self) -> str:
        counts = Counter(s.outcome for s in self.sent)
        return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))

    def recovered_after(self) -> float:
        """When the last request without a good response was sent."""
        return max((s.at - self.began for s in self.sent if s.outcome != "good"), default=0.0)

    def percentile(self, which: float) -> float:
        times = sorted(s.end - s.at for s in self.sent if s.outcome == "good")
        return times[min(int(len(times) * which), len(times) - 1)] * 1000 if times else 0.0


async def ask(port: int, patience: float, sent: Sent) -> None:
    try:
        sent.outcome = await asyncio.wait_for(_exchange(port), patience)
    except asyncio.TimeoutError:
        sent.outcome = "gave up"
    except OSError as error:
        sent.outcome = type(error).__name__
    sent.end = time.monotonic()


async def _exchange(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(REQUEST)
        answer = await reader.read()
    finally:
        writer.close()
    status = answer[9:12].decode("latin-1")
    return "good" if status == "200" else status or "closed"


async def capacity(port: int, clients: int, seconds: float) -> float:
    """Responses per second to clients that send one request at a time."""
    until = time.monotonic() + seconds
    good = 0

    async def client() -> None:
        nonlocal good
        while time.monotonic() < until:
            sent = Sent(time.monotonic())
            await ask(port, START_SECONDS, sent)
            good += sent.outcome == "good" and sent.end < until

    await asyncio.gather(*(client() for _ in range(clients)))
    return good / seconds


async def apply(port: int, phases: list[Phase], patience: float) -> None:
    dice = random.Random(7)
    running: set[asyncio.Task[None]] = set()
    at = time.monotonic()
    for phase in phases:
        phase.began = at
        while at < phase.began + phase.seconds:
            if (early := at - time.monotonic()) > 0:
                await asyncio.sleep(early)
            sent = Sent(time.monotonic())
            phase.sent.append(sent)
            task = asyncio.create_task(ask(port, patience, sent))
            running.add(task)
            task.add_done_callback(running.discard)
            at += dice.expovariate(phase.rate)
    await asyncio.gather(*running)


async def wait_until_it_serves(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        sent = Sent(time.monotonic())
        await ask(port, START_SECONDS, sent)
        if sent.outcome == "good":
            return
        await asyncio.sleep(0.05)
    raise SystemExit(f"bench: the server does not serve; see {BUILD / 'overload.log'}")


async def measure(name: str, options: argparse.Namespace) -> str:
    app, threads = CASES[name]
    port = free_port()
    command = options.command.format(python=sys.executable, app=app, port=port, threads=threads)
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "overload.log").open("wb") as log:
        process = subprocess.Popen(
            shlex.split(command),
            cwd=BENCH,
            env=os.environ | {"PYTHONPATH": "."},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        await wait_until_it_serves(process, port)
        most = await capacity(port, CLOSED_CLIENTS * threads, options.seconds / 2)
        over = Phase(options.seconds, most * options.times)
        after = Phase(options.seconds / 2, most / 2)
        await apply(port, [over, after], options.patience)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # The first slice has an empty queue before it: no overload yet.
    worst = min(over.slices()[1:], default=0.0)
    if options.verbose:
        print(f"{name}: over: {over.outcomes()}; after: {after.outcomes()}", file=sys.stderr)
        print(
            f"{name}: {[round(rate) for rate in over.slices() + after.slices()]}", file=sys.stderr
        )
    return (
        f"| {name} | {most:.0f} | {len(over.sent) / options.seconds:.0f} | {over.good():.0f} "
        f"| {over.good() / most:.0%} | {worst / most:.0%} | {over.percentile(0.5):.0f} "
        f"| {over.percentile(0.99):.0f} | {after.recovered_after():.1f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--cases", default=",".join(CASES), help="default: all")
    parser.add_argument("-s", "--seconds", type=float, default=10.0, help="of overload")
    parser.add_argument("-p", "--patience", type=float, default=2.0, help="of a client, seconds")
    parser.add_argument("-x", "--times", type=float, default=3.0, help="of the capacity")
    parser.add_argument("-v", "--verbose", action="store_true", help="slices and outcomes, too")
    parser.add_argument(
        "--command",
        default=LOCKGATE,
        help="another server, with {python}, {app}, {port} and {threads}",
    )
    options = parser.parse_args()
    cases = options.cases.split(",")
    if unknown := [name for name in cases if name not in CASES]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(CASES)}")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("| view-threads | capacity/s | arrivals/s | good/s | of capacity | worst half second "
          "| p50 ms | p99 ms | recovered after s |")  # fmt: skip
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name in cases:
        print(asyncio.run(measure(name, options)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
