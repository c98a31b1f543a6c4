"""A Redis server on a loopback port, with its files in a directory of the test."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from harness.patience import eventually
from harness.process import free_port
from harness.requirements import require_program


class Redis:
    """`redis-server`; `kill` and `start` keep its port and, if it is to persist, its data."""

    def __init__(self, directory: Path, *options: str, persists: bool = False) -> None:
        self._program = require_program("redis-server", package="redis-server")
        self._directory = directory
        self._options = options
        self._persists = persists
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        durability = ["--appendonly", "yes", "--appendfsync", "always"] if self._persists else []
        with (self._directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(self._program, "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--dir", str(self._directory), "--save", "", *durability, *self._options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, what="Redis takes connections")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped: it has its connections, and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def command(self, *words: str, password: str | None = None) -> bytes:
        """The first bytes of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            if password is not None:
                connection.sendall(f"AUTH {password}\r\n".encode())
                connection.recv(100)
            connection.sendall((" ".join(words) + "\r\n").encode())
            return connection.recv(1000)

    def _answers(self) -> bool:
        try:
            return self.command("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False
