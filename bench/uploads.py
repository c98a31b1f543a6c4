"""Streamed uploads beside a bare copy over loopback: `.venv/bin/python bench/uploads.py`.

A client sends 1 GiB to a WSGI application that reads the body in pieces (`stream_request_body`),
and the same bytes to a process that only receives them, in pieces of the same size. Both run in
each round, in alternating order.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from statistics import median

from process import BENCH, DidNotServe, free_port

START_SECONDS = 20.0
PATIENCE_SECONDS = 120.0
SERVER = "-m lockgate apps:upload -b 127.0.0.1:{port} -w 1 --limit-request-body 0"
STREAMED = " --stream-request-body /"
RECEIVER = """
import socket, sys
port, size = int(sys.argv[1]), int(sys.argv[2])
listener = socket.create_server(("127.0.0.1", port))
while True:
    connection, _ = listener.accept()
    with connection:
        missing = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
        while missing:
            missing -= len(connection.recv(min(size, missing), socket.MSG_WAITALL))
        connection.sendall(b"done")
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure streamed uploads.")
    parser.add_argument("--mebibytes", type=int, default=1024, help="default: 1024")
    parser.add_argument("--piece", type=int, default=256, help="KiB read at once (default: 256)")
    parser.add_argument("-r", "--rounds", type=int, default=5, help="default: 5")
    options = parser.parse_args()
    piece, total = options.piece << 10, options.mebibytes << 20
    commands = {
        "bare copy": ["-c", RECEIVER, "{port}", str(piece)],
        "streamed": (SERVER + STREAMED).split(),
        "whole body": SERVER.split(),
    }
    rates: dict[str, list[float]] = {name: [] for name in commands}
    servers = {}
    try:
        for name, command in commands.items():
            servers[name] = start(command, piece)
        for number in range(options.rounds):
            for name in list(commands)[:: 1 if number % 2 == 0 else -1]:
                send = send_bare if name == "bare copy" else upload
                seconds = send(servers[name][1], piece, total)
                rates[name].append(total / seconds / (1 << 30))
    except (OSError, DidNotServe) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        for server, _ in servers.values():
            server.terminate()
            server.wait()
    bare = median(rates["bare copy"])
    print(f"{options.mebibytes} MiB in pieces of {options.piece} KiB, {options.rounds} rounds")
    print("| upload | GiB/s | min..max | of the bare copy |\n|---|--:|--:|--:|")
    for name, found in rates.items():
        middle = median(found)
        print(
            f"| {name} | {middle:.2f} | {min(found):.2f}..{max(found):.2f} | {middle / bare:.0%} |"
        )
    return 0


def start(command: list[str], piece: int) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, *(word.replace("{port}", str(port)) for word in command)],
        cwd=BENCH,
        env=os.environ | {"PYTHONPATH": ".", "PIECE": str(piece)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(ConnectionRefusedError):
            connect(port).close()
            return server, port
        time.sleep(0.05)
    raise DidNotServe(f"did not listen: {' '.join(command)}")


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)


def send_bare(port: int, piece: int, total: int) -> float:
    return send(port, piece, total, total.to_bytes(8, "big"), b"done")


def upload(port: int, piece: int, total: int) -> float:
    head = (
        f"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {total}\r\nConnection: close\r\n\r\n"
    )
    return send(port, piece, total, head.encode(), str(total).encode())


def send(port: int, piece: int, total: int, head: bytes, end: bytes) -> float:
    """Seconds until the answer, which ends with `end`."""
    data = bytes(piece)
    with connect(port) as connection:
        began = time.monotonic()
        connection.sendall(head)
        for _ in range(total // piece):
            connection.sendall(data)
        connection.sendall(data[: total % piece])
        answer = b""
        while not answer.endswith(end):
            received = connection.recv(65536)
            if not received:
                raise DidNotServe(f"answered {answer[-80:]!r}")
            answer += received
        return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
