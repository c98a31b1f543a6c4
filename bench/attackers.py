"""Hostile clients: one function for each attack, and the process that runs it.

Each attack holds a number of connections, and reopens one when the server has closed it.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import http2_attacks

HOST = "127.0.0.1"
RESET = struct.pack("ii", 1, 0)
TICK = 1.0
# Connections that are opened at once, so that the server's queue is not what is measured.
AT_ONCE = 50
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
BIG = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n"
IN_CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
# What a connection does when it is open, and what it does at each tick; None: nothing.
Step = Callable[[socket.socket], object]


def say(what: bytes) -> Step:
    return lambda client: client.send(what)


def taste(client: socket.socket) -> None:
    client.recv(1)


def be_served(client: socket.socket) -> None:
    client.send(GET)
    client.setblocking(True)
    client.settimeout(5)
    client.recv(4096)
    client.setblocking(False)


def half_close(client: socket.socket) -> None:
    client.send(GET)
    client.shutdown(socket.SHUT_WR)


def abort(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


def pour(what: bytes) -> Step:
    """Sends as much as the socket accepts."""

    def step(client: socket.socket) -> None:
        with suppress(BlockingIOError):
            for _ in range(64):
                client.send(what)

    return step


class Attack:
    """`pause` is the time between two ticks of one connection."""

    def __init__(
        self,
        about: str,
        first: Step | None = None,
        tick: Step | None = None,
        *,
        pause: float = TICK,
        is_brief: bool = False,
        receive_buffer: int | None = None,
        tool: tuple[str, ...] = (),
        script: bytes = b"",
        reads: bool = True,
    ) -> None:
        self.about, self.first, self.tick, self.pause = about, first, tick, pause
        # What a connection sends as fast as the server takes it; and whether it reads the answers.
        self.script, self.reads = script, reads
        self.is_brief, self.receive_buffer, self.tool = is_brief, receive_buffer, tool

    def obstacle(self) -> str:
        """Why the attack cannot run on this host, or None."""
        if self.tool and not shutil.which(self.tool[0]):
            return f"{self.tool[0]} is missing (apt install {self.tool[0]})"
        return ""


ATTACKS = {
    "silent": Attack("connects and says nothing"),
    "byte": Attack("sends one byte and no more", say(b"G")),
    "head": Attack("sends a head byte by byte, one a second", say(HEAD), say(b"a")),
    "body": Attack("sends a body byte by byte, one a second", say(POST), say(b"a")),
    "read": Attack(
        "asks for 8 MiB and reads a byte a second", say(BIG), taste, receive_buffer=2048
    ),
    "idle": Attack("keeps a connection open behind a request", be_served),
    "half-close": Attack("asks, closes its sending half, comes again", half_close, is_brief=True),
    "reset": Attack("connects and resets, again and again", abort, is_brief=True),
    "segments": Attack("sends requests in segments of a byte", None, None, pause=0.02),
    "chunks": Attack(
        "sends bodies in chunks of a byte", say(IN_CHUNKS), pour(b"1\r\nx\r\n" * 2000)
    ),
    "pipeline": Attack("sends requests without end, reads no answer", None, pour(GET * 200)),
    "oversized": Attack(
        "sends heads that are far too large", pour(HEAD + b"a" * 100_000), is_brief=True
    ),
    "tool-head": Attack(
        "slowhttptest -H", tool=("slowhttptest", "-H", "-i", "1", "-t", "GET", "-x", "24")
    ),
    "tool-body": Attack("slowhttptest -B", tool=("slowhttptest", "-B", "-i", "1", "-s", "1000000")),
    "tool-read": Attack(
        "slowhttptest -X", tool=("slowhttptest", "-X", "-n", "1", "-z", "1", "-w", "1", "-y", "64")
    ),
} | {
    name: Attack(about, script=script, reads=name != "h2-unread", receive_buffer=4096)
    for name, (about, script) in http2_attacks.SCRIPTS.items()
}


class Attackers:
    """A process of hostile clients; leaving this context manager ends it."""

    def __init__(self, attack: Attack, port: int, clients: int, seconds: float) -> None:
        self.attack, self.port, self.clients, self.seconds = attack, port, clients, seconds
        self._ready = multiprocessing.Event()
        self._process: multiprocessing.Process | None = None
        self._tool: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Attackers:
        if self.attack.tool:
            self._tool = self._start_tool()
            # It connects `-r` a second, and does not tell when it has.
            time.sleep(2)
            return self
        self._process = multiprocessing.Process(target=self._work, daemon=True)
        self._process.start()
        self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._process, self._tool):
            if process is not None:
                process.kill()
        if self._process:
            self._process.join()
        if self._tool:
            self._tool.wait()

    def _start_tool(self) -> subprocess.Popen[bytes]:
        target = f"http://{HOST}:{self.port}/" + ("big" if "-X" in self.attack.tool else "")
        numbers = ["-c", str(self.clients), "-r", str(self.clients), "-p", "5"]
        return subprocess.Popen(
            [*self.attack.tool, *numbers, "-l", str(int(self.seconds) + 5), "-u", target],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _work(self) -> None:
        # The process that measures shares the CPU with this one and must not wait for it.
        os.nice(19)
        allow_descriptors(self.clients + 100)
        clients: dict[int, Iterator[float]] = {}
        due = [0.0] * self.clients
        while True:
            now = time.monotonic()
            opened = 0
            for number in range(self.clients):
                if number not in clients:
                    if opened >= AT_ONCE:
                        continue
                    opened += 1
                    clients[number] = self._client()
                elif due[number] > now:
                    continue
                try:
                    due[number] = now + next(clients[number])
                except (StopIteration, OSError):
                    del clients[number]
            if len(clients) >= self.clients or self.attack.is_brief:
                self._ready.set()
            if not opened:
                time.sleep(max(0.0, min(0.005, min(due) - now)))

    def _client(self) -> Iterator[float]:
        """The life of one connection; yields the seconds until its next step."""
        attack = self.attack
        with socket.socket() as client:
            if attack.receive_buffer:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, attack.receive_buffer)
            client.settimeout(5)
            client.connect((HOST, self.port))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setblocking(False)
            if attack.first:
                attack.first(client)
            if attack.is_brief:
                yield 0.01
                return
            if attack is ATTACKS["segments"]:
                yield from self._in_segments(client)
            if attack.script:
                return (yield from self._play(client))
            while True:
                if attack.tick:
                    with suppress(BlockingIOError):
                        attack.tick(client)
                elif is_closed(client):
                    return
                yield attack.pause

    def _play(self, client: socket.socket) -> Iterator[float]:
        left = memoryview(self.attack.script)
        while left:
            with suppress(BlockingIOError):
                for _ in range(4):
                    left = left[client.send(left[:65536]) :]
            if self.attack.reads and is_closed(client):
                return
            yield 0.0
        while not (self.attack.reads and is_closed(client)):
            yield TICK

    def _in_segments(self, client: socket.socket) -> Iterator[float]:
        while True:
            for at in range(len(GET)):
                client.send(GET[at : at + 1])
                yield self.attack.pause
            if is_closed(client):
                return


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed it; received bytes are discarded."""
    try:
        while client.recv(65536):
            pass
    except BlockingIOError:
        return False
    return True


def allow_descriptors(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
