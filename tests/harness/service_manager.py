"""What systemd is to a service: a notification socket, and sockets that already listen."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.patience import eventually

# Moves sockets to where LISTEN_FDS expects them, and execs the server. Arguments: the descriptors,
# separated by commas, their names, and the command.
LAUNCHER = """
import os, sys
numbers = [int(number) for number in sys.argv[1].split(",")]
# Out of the way first: one of them may stand where another one belongs.
aside = [os.dup(number) for number in numbers]
while min(aside) < 3 + len(aside):
    aside = [os.dup(number) for number in aside]
for number in numbers:
    os.close(number)
for place, number in enumerate(aside, 3):
    os.dup2(number, place, inheritable=True)
os.environ["LISTEN_FDS"] = str(len(numbers))
os.environ["LISTEN_FDNAMES"] = sys.argv[2]
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])
"""


class NotifySocket:
    """The stand-in for systemd's: keeps each message as what it assigns, in order."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify.sock"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.setblocking(False)
        self.messages: list[dict[str, str]] = []

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.path)}

    def read(self) -> list[dict[str, str]]:
        """All messages so far."""
        while True:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return self.messages
            lines = data.decode().split("\n")
            self.messages.append(dict(line.split("=", 1) for line in lines))

    def count(self, key: str, value: str = "1") -> int:
        return sum(message.get(key) == value for message in self.read())

    def statuses(self) -> list[str]:
        return [message["STATUS"] for message in self.read() if "STATUS" in message]

    def wait_for(self, key: str, value: str = "1", since: int = 0) -> dict[str, str]:
        """The first message with this assignment, behind the first `since`."""

        def found() -> dict[str, str] | None:
            return next((m for m in self.read()[since:] if m.get(key) == value), None)

        return eventually(found, what=f"{key}={value} among {self.messages}")


class PassedSockets:
    """Listening sockets that a server finds under names, as from .socket units."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]

    def __enter__(self) -> PassedSockets:
        return self

    def __exit__(self, *_: object) -> None:
        for listening in self.sockets:
            listening.close()

    def address(self, number: int) -> tuple[str, int]:
        return self.sockets[number].getsockname()

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(listening.fileno() for listening in self.sockets)

    @property
    def prefix(self) -> list[str]:
        """To be put before the command of a server, which must inherit `numbers`."""
        numbers = ",".join(map(str, self.numbers))
        return [sys.executable, "-c", LAUNCHER, numbers, ":".join(self.names)]
