"""What a second event loop adds, with a Rust application that computes: no Python is involved.

wrk needs a part of the same cores. So besides requests a second the report has how many seconds of
the application ran in each second, and which share of the server's CPU time that was: what an event
loop costs shows there, however much of the machine wrk has had.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from process import BUILD, free_port, process_stat

MICROSECONDS = 100
START_SECONDS = 10.0
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure a worker with several event loops.")
    parser.add_argument("-l", "--event-loops", type=int, nargs="+", default=[1, 2])
    parser.add_argument("-d", "--seconds", type=int, default=5, help="of each run (default: 5)")
    parser.add_argument("-r", "--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("-c", "--connections", type=int, default=16, help="default: 16")
    parser.add_argument("-p", "--program", type=Path, default=BUILD / "constant")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        print("bench: wrk is missing: apt install wrk", file=sys.stderr)
        return 2
    runs: dict[int, list[tuple[float, float]]] = {count: [] for count in options.event_loops}
    for _ in range(options.rounds):
        for count, results in runs.items():
            results.append(run(options, count))
    print("| event loops | requests/s | seconds of the application a second | of its CPU time |")
    print("|--:|--:|--:|--:|")
    for count, results in runs.items():
        rate = median(rate for rate, _ in results)
        cpu = median(cpu for _, cpu in results)
        computed = rate * MICROSECONDS / 1e6
        print(f"| {count} | {rate:.0f} | {computed:.2f} | {computed / cpu:.1%} |")
    return 0


def run(options: argparse.Namespace, count: int) -> tuple[float, float]:
    """Requests a second, and the server's seconds of CPU time a second."""
    port = free_port()
    environment = os.environ | {"EVENT_LOOPS": str(count), "COMPUTE": str(MICROSECONDS)}
    # One thread each: calls that compute gain nothing by more.
    command = [options.program, str(port), "1"]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        before, began = cpu_seconds(server.pid), time.monotonic()
        load = ["wrk", "-t", "1", "-c", str(options.connections), "-d", str(options.seconds)]
        output = subprocess.run(
            [*load, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True
        ).stdout
        took = time.monotonic() - began
        used = cpu_seconds(server.pid) - before
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    found = re.search(r"(\d+) requests in", output)
    if not found or "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"bench: wrk says {output.strip()[-300:]}")
    return int(found[1]) / took, used / took


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
