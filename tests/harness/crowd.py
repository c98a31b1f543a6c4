"""Many connections at once, and what a server's process holds meanwhile."""

from __future__ import annotations

import os
import resource
import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from harness.process import Server
from harness.wire import Wire

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time (close becomes a reset)


class Crowd:
    """`count` connections to a server; each says `opening` and is closed at the end."""

    def __init__(
        self,
        server: Server,
        count: int,
        opening: bytes = b"",
        *,
        receive_buffer: int | None = None,
        prepare: Callable[[Wire], None] | None = None,
    ) -> None:
        allow_descriptors(count + 100)
        self.wires: list[Wire] = []
        try:
            for _ in range(count):
                wire = server.connect()
                self.wires.append(wire)
                if receive_buffer:
                    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                if opening:
                    wire.send(opening)
                if prepare:
                    prepare(wire)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for wire in self.wires:
            wire.close()

    def say(self, piece: bytes) -> int:
        """Each connection that is still open sends `piece`; gives how many those are."""
        return sum(wire.send_while_open(piece) for wire in self.wires)

    def answers(self, within: float = 20.0) -> list[bytes]:
        """What each got until its peer closed."""
        deadline = time.monotonic() + within
        open_wires = {wire.socket.fileno(): wire for wire in self.wires}
        poller = select.poll()
        for descriptor in open_wires:
            poller.register(descriptor, select.POLLIN)
        while open_wires:
            left = deadline - time.monotonic()
            assert left > 0, f"{len(open_wires)} connections were not closed within {within} s"
            for descriptor, _ in poller.poll(left * 1000):
                if not open_wires[descriptor].receive():
                    poller.unregister(descriptor)
                    del open_wires[descriptor]
        return [wire.pending for wire in self.wires]


def allow_descriptors(wanted: int) -> int:
    """Raises the limit of this process and of servers that it starts from now on, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def sockets(pid: int) -> int:
    """Listening ones and connections."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += os.readlink(entry).startswith("socket:")
        except FileNotFoundError:
            continue
    return count


def resident_kibibytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no memory")


def context_switches(pid: int) -> int:
    """How often the threads of a process have gone to sleep by themselves, all together."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text("utf-8").splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                count += int(line.split()[1])
    return count


def reset(wire: Wire) -> None:
    """Closes with a reset."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    wire.close()
