"""Messages for the developer who looks at the terminal."""

from __future__ import annotations

import threading

from lockgate.dev import terminal
from lockgate.dev.failure import Failure


class Messages:
    """Writes to standard error; each text once for each version of the application."""

    def __init__(self, has_colour: bool) -> None:
        self._has_colour = has_colour
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def say_once(self, text: str) -> None:
        with self._lock:
            if text in self._said:
                return
            self._said.add(text)
        self.say(text)

    def say(self, text: str) -> None:
        if self._has_colour:
            text = f"\x1b[33m{text}\x1b[0m"
        terminal.say(text)

    def show(self, failed: Failure) -> None:
        """An exception, as one block."""
        terminal.say(terminal.block(failed, self._has_colour))
