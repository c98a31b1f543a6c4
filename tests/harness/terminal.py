"""A terminal with a process in it, as a person uses one: a pty with job control."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.patience import eventually
from harness.process import is_alive, processes_of_session


class Terminal:
    """Runs a command in a new terminal. `close` hangs up; `end` leaves nothing behind."""

    def __init__(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> None:
        self.master, slave = pty.openpty()

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env={**environment, "TERM": "xterm", "PS1": "$ ", "HISTFILE": ""},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(slave)
        self.seen = ""
        self._is_open = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while self._is_open:
            # A read that waits would keep the terminal open when it is closed.
            if not select.select([self.master], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self.master, 65536)
            except OSError:  # EIO: every process has closed it
                return
            if not data:
                return
            self.seen += data.decode("utf-8", "replace").replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, pattern: str, within: float = 30.0, since: int = 0) -> re.Match[str]:
        """The first match in what has appeared behind this offset."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.seen[since:], re.MULTILINE)

        try:
            return eventually(found, within=within, what=f"{pattern!r} on the terminal")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.seen}") from None

    @property
    def echoes(self) -> bool:
        """Whether typed characters appear, as they do at a shell's prompt."""
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def members(self) -> list[int]:
        """The processes of its session."""
        return processes_of_session(self.process.pid)

    def close(self) -> None:
        """The window is closed: the kernel hangs the terminal up."""
        if self._is_open:
            self._is_open = False
            self._reader.join()
            os.close(self.master)

    def end(self) -> None:
        for pid in self.members():
            if is_alive(pid):
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    continue
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.close()
