"""Instructions per request under callgrind, which do not depend on the load of the machine.

A server answers N requests, and a new one 2N; the difference, divided by N, is the figure of one
request, without start and stop. The kernel's instructions are not counted.
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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import peers
from process import BENCH, BUILD, DidNotServe, free_port, process_tree

# One thread each, so that no follower that looks at its clock is counted.
LOCKGATE = ".venv/bin/python -m lockgate {app} -b 127.0.0.1:{{port}} -w 1 --threads 1 --timeout 0"
SERVERS = {
    "Rust only": ("constant", "build/constant {port} 1"),
    "through Python": ("lockgate", LOCKGATE.format(app="apps:hello")),
    "ten routes, an id and a rate limit": (
        "lockgate",
        LOCKGATE.format(app="apps:hello") + " -c routes.toml",
    ),
    "an iterable with close()": ("lockgate", LOCKGATE.format(app="apps:closing")),
    "a Flask view": ("lockgate", LOCKGATE.format(app="flask_apps:app")),
}
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ANSWER_END = b"Hello, World!"
# Under callgrind everything is about fifty times slower.
START_SECONDS = 120.0
ANSWER_SECONDS = 30.0
STOP_SECONDS = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description="Count instructions per request.")
    parser.add_argument("-n", "--requests", type=int, default=2000, help="N (default: 2000)")
    parser.add_argument("-r", "--rounds", type=int, default=2, help="default: 2")
    options = parser.parse_args()
    if options.requests < 1 or options.rounds < 1:
        parser.error("requests and rounds must be at least 1")
    if not shutil.which("valgrind"):
        print("bench: valgrind is missing: apt install valgrind", file=sys.stderr)
        return 2
    try:
        installed = peers.set_up()
    except peers.CannotSetUp as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    lines = ["| hello | instructions/request | min..max |", "|---|--:|--:|"]
    failed = False
    for name, (needed, command) in SERVERS.items():
        reason = installed.missing.get(needed) or installed.missing.get(f"build/{needed}")
        if reason:
            print(f"bench: skipped {name}: {reason}", flush=True)
            continue
        try:
            found = [per_request(command, options.requests) for _ in range(options.rounds)]
        except (DidNotServe, OSError) as error:
            print(f"bench: {name} failed: {error}", flush=True)
            failed = True
            continue
        lines.append(f"| {name} | {median(found):,.0f} | {min(found):,.0f}..{max(found):,.0f} |")
    print("\n".join(lines))
    return int(failed)


def per_request(command: str, requests: int) -> float:
    return (instructions(command, 2 * requests) - instructions(command, requests)) / requests


def instructions(command: str, requests: int) -> int:
    """Of all processes of one server that starts, answers that number of requests and stops."""
    return instructions_while(command, lambda answered: answered < requests)


def instructions_while(command: str, is_wanted: Callable[[int], bool]) -> int:
    """As `instructions`, until one more request than have been answered is not wanted."""
    port = free_port()
    folder = BUILD / f"callgrind-{port}"
    folder.mkdir(exist_ok=True)
    # %p is the process id: each process that is forked has a file.
    out = f"{folder.relative_to(BENCH)}/out.%p"
    valgrind = [sys.executable, "without_auxv.py", "valgrind", "--tool=callgrind"]
    valgrind.append(f"--callgrind-out-file={out}")
    log = folder / "log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [*valgrind, *command.format(port=port).split()],
            cwd=BENCH,
            # The same hashes, and so the same dictionaries, in each run.
            env=os.environ | {"PYTHONPATH": ".", "PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    pids = [server.pid]
    try:
        with connect(server, port) as connection:
            pids = process_tree(server.pid)
            answered = 0
            while is_wanted(answered):
                ask(connection)
                answered += 1
        server.send_signal(signal.SIGTERM)
        server.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, DidNotServe) as error:
        raise DidNotServe(f"{error}; valgrind's output is in {log.relative_to(BENCH)}") from None
    finally:
        if server.poll() is None:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            server.wait(STOP_SECONDS)
    total = sum(map(counted, folder.glob("out.*")))
    shutil.rmtree(folder)
    return total


def connect(server: subprocess.Popen, port: int) -> socket.socket:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(ConnectionRefusedError):
            connection = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        time.sleep(0.1)
    raise DidNotServe("never listened")


def ask(connection: socket.socket) -> None:
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(ANSWER_END):
        piece = connection.recv(65536)
        if not piece:
            raise DidNotServe(f"closed the connection after {answer[:60]!r}")
        answer += piece


def counted(path: Path) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)$", path.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
