"""Held streams: what N of them cost a server, and how long one message to all of them takes.

    held_streams.py URL PUBLISH_URL HELLO_URL PID [N] [ROUNDS]

URL answers with a stream that stays open; PUBLISH_URL sends a message that contains `marker` to all
of them; HELLO_URL is requested meanwhile. PID is the server's main process: the memory of it and
its descendants counts (PSS).
"""

import http.client
import resource
import select
import socket
import statistics
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

MARKER = b"marker"
PATIENCE = 60.0


def descendants(pid: int) -> list[int]:
    found = [pid]
    children = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
    )
    for child in children.stdout.split():
        found += descendants(int(child))
    return found


def pss_kib(pid: int) -> int:
    total = 0
    for process in descendants(pid):
        with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as rollup:
            total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total


def threads(pid: int) -> int:
    total = 0
    for process in descendants(pid):
        with open(f"/proc/{process}/status", encoding="ascii") as status:
            total += sum(int(line.split()[1]) for line in status if line.startswith("Threads:"))
    return total


class Streams:
    """Open streams of one server."""

    def __init__(self, url: str, count: int) -> None:
        self.sockets: dict[int, socket.socket] = {}
        self.epoll = select.epoll()
        parts = urlsplit(url)
        target = parts.path + ("?" + parts.query if parts.query else "")
        request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        # Some at a time: no server accepts 10,000 in one moment.
        for start in range(0, count, 200):
            fresh = []
            for number in range(start, min(start + 200, count)):
                # 10,000 connections from one address come near the number of its ports.
                source = (f"127.0.0.{2 + number % 8}", 0)
                address = (parts.hostname, parts.port)
                one = socket.create_connection(address, timeout=PATIENCE, source_address=source)
                one.sendall(request)
                fresh.append(one)
            for one in fresh:
                received = b""
                while b"\r\n\r\n" not in received:
                    piece = one.recv(65536)
                    if not piece:
                        raise SystemExit(f"a stream ended: {received!r}")
                    received += piece
                if b" 200 " not in received[:16]:
                    raise SystemExit(f"not 200: {received[:200]!r}")
                one.setblocking(False)
                self.sockets[one.fileno()] = one
                self.epoll.register(one.fileno(), select.EPOLLIN | select.EPOLLET)

    def drain(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for number, _ in self.epoll.poll(0.05):
                self.read(number)

    def read(self, number: int) -> bytes:
        try:
            return self.sockets[number].recv(65536)
        except BlockingIOError:
            return b""

    def receive_marker(self, began: float) -> tuple[list[float], int]:
        """Milliseconds from `began` until each stream had it, and how many never had it."""
        times = []
        waiting = set(self.sockets)
        while waiting and time.monotonic() - began < PATIENCE:
            for number, _ in self.epoll.poll(1.0, 4096):
                if number in waiting and MARKER in self.read(number):
                    waiting.discard(number)
                    times.append((time.monotonic() - began) * 1000)
        return times, len(waiting)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Hello(threading.Thread):
    """Requests, one after the other, on a connection of its own process."""

    CODE = """
import http.client, sys, time
from urllib.parse import urlsplit
parts = urlsplit(sys.argv[1]); until = time.monotonic() + float(sys.argv[2]); times = []
connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
while time.monotonic() < until:
    began = time.perf_counter()
    connection.request("GET", parts.path); connection.getresponse().read()
    times.append((time.perf_counter() - began) * 1000); time.sleep(0.001)
times.sort()
print(len(times), times[len(times) // 2], times[int(len(times) * 0.99)], times[-1])
"""

    def __init__(self, url: str, seconds: float) -> None:
        super().__init__()
        self.arguments = [sys.executable, "-c", self.CODE, url, str(seconds)]
        self.result = ""

    def run(self) -> None:
        self.result = subprocess.run(
            self.arguments, capture_output=True, text=True, check=True
        ).stdout.strip()

    def shown(self) -> str:
        count, p50, p99, longest = self.result.split()
        p50, p99, longest = (f"{float(value):.2f}" for value in (p50, p99, longest))
        return f"{count} requests, p50 {p50} p99 {p99} max {longest} ms"


def publish(url: str) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
    connection.request("GET", parts.path + ("?" + parts.query if parts.query else ""))
    connection.getresponse().read()
    connection.close()


def main() -> None:
    url, publish_url, hello_url, pid, *rest = sys.argv[1:]
    count = int(rest[0]) if rest else 10_000
    rounds = int(rest[1]) if len(rest) > 1 else 10
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for _ in range(20):
        publish(publish_url)
    before = pss_kib(int(pid))
    began = time.monotonic()
    streams = Streams(url, count)
    opened = time.monotonic() - began
    streams.drain(1.0)
    after = pss_kib(int(pid))
    each = (after - before) * 1024 / count
    print(f"{count} streams in {opened:.1f} s: {each:.0f} B each, {threads(int(pid))} threads")
    quiet = Hello(hello_url, 3.0)
    quiet.run()
    print("hello beside silent streams:", quiet.shown())
    busy = Hello(hello_url, rounds * 0.5 + 1)
    busy.start()
    time.sleep(0.5)
    last, lost = [], 0
    for _ in range(rounds):
        began = time.monotonic()
        sender = threading.Thread(target=publish, args=[publish_url])
        sender.start()
        times, missing = streams.receive_marker(began)
        sender.join()
        lost += missing
        last.append(max(times, default=PATIENCE * 1000))
        streams.drain(max(0.0, 0.5 - (time.monotonic() - began)))
    busy.join()
    median, longest = statistics.median(last), max(last)
    print(f"a message to all: median {median:.0f} max {longest:.0f} ms, {lost} not received")
    print("hello beside the messages:", busy.shown())


main()
