"""What a second event loop adds, with a Rust application that computes: no Python is involved.

The clients run on the same cores, so they have to cost nearly nothing: one process sends requests
in batches, and the kernel wakes the process when a whole batch of responses is there. Its share of
the CPU time is in the report. wrk, which parses each response, takes a tenth of two cores here.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from process import BUILD, free_port, process_stat

MICROSECONDS = 100
START_SECONDS = 10.0
TICKS = os.sysconf("SC_CLK_TCK")
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
STATUS_LINE = b"HTTP/1.1 200 OK\r\n"


@dataclass(frozen=True)
class Run:
    rate: float
    """Requests a second."""
    server: float
    """Seconds of CPU time of the server in each second."""
    clients: float
    """Seconds of CPU time of the clients in each second."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure a worker with several event loops.")
    parser.add_argument("-l", "--event-loops", type=int, nargs="+", default=[1, 2])
    parser.add_argument("-d", "--seconds", type=int, default=5, help="of each run (default: 5)")
    parser.add_argument("-r", "--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("-c", "--connections", type=int, default=16, help="default: 16")
    parser.add_argument("-b", "--batch", type=int, default=32, help="requests (default: 32)")
    parser.add_argument("-p", "--program", type=Path, default=BUILD / "constant")
    options = parser.parse_args()
    runs: dict[int, list[Run]] = {count: [] for count in options.event_loops}
    for _ in range(options.rounds):
        for count, results in runs.items():
            results.append(run(options, count))
    print(
        "| event loops | requests/s | CPUs of the server | CPUs of the clients | times the first |"
    )
    print("|--:|--:|--:|--:|--:|")
    first = median(one.rate for one in runs[options.event_loops[0]])
    for count, results in runs.items():
        rate, server, clients = (
            median(getattr(one, name) for one in results) for name in ("rate", "server", "clients")
        )
        print(f"| {count} | {rate:.0f} | {server:.2f} | {clients:.3f} | {rate / first:.2f} |")
    return 0


def run(options: argparse.Namespace, count: int) -> Run:
    port = free_port()
    environment = os.environ | {"EVENT_LOOPS": str(count), "COMPUTE": str(MICROSECONDS)}
    # One thread each: calls that compute gain nothing by more.
    command = [options.program, str(port), "1"]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        before, clients_before, began = (
            cpu_seconds(server.pid),
            time.process_time(),
            time.monotonic(),
        )
        answered = load(port, options.connections, options.batch, began + options.seconds)
        took = time.monotonic() - began
        used = cpu_seconds(server.pid) - before
        clients = time.process_time() - clients_before
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    return Run(answered / took, used / took, clients / took)


def load(port: int, connections: int, batch: int, until: float) -> int:
    """The number of requests that were answered before `until`."""
    with ExitStack() as stack:
        size = response_size(port)
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(connections):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            # A batch is readable when it is whole (SO_RCVLOWAT, socket(7)).
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, batch * size)
            client.sendall(REQUEST * batch)
            selector.register(client, selectors.EVENT_READ)
        answered = 0
        while time.monotonic() < until:
            ready = selector.select(1)
            if not ready:
                raise SystemExit("bench: the server has not answered for a second")
            for key, _ in ready:
                client = key.fileobj
                assert isinstance(client, socket.socket)
                responses = client.recv(batch * size)
                if responses.count(STATUS_LINE) != batch or len(responses) != batch * size:
                    raise SystemExit(f"bench: not {batch} responses: {responses[:300]!r}")
                answered += batch
                client.sendall(REQUEST * batch)
        return answered


def response_size(port: int) -> int:
    """The length of each response, in bytes; a Date has always 29."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(REQUEST[:-2] + b"Connection: keep-alive\r\n\r\n")
        return len(client.recv(4096))


def wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise SystemExit("bench: the server did not start")


def cpu_seconds(pid: int) -> float:
    fields = process_stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


if __name__ == "__main__":
    sys.exit(main())
