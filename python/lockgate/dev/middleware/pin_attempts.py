"""The number of wrong PINs of Werkzeug's debugger, shared by workers that follow each other.

Werkzeug counts in one worker. Each saved file starts another worker, and would allow ten more
guesses.
"""

from __future__ import annotations

import mmap
import threading

#: Wrong PINs until none is accepted, as Werkzeug has it.
LIMIT = 10


class PinAttempts:
    """Counts in memory that is mapped before the workers are forked."""

    def __init__(self) -> None:
        self._bytes = mmap.mmap(-1, mmap.PAGESIZE)
        self._lock = threading.Lock()

    def begin(self) -> bool:
        """Counts an attempt as wrong until `succeed` is called. False: there were too many."""
        with self._lock:
            count = self._count()
            if count >= LIMIT:
                return False
            self._set(count + 1)
            return True

    def succeed(self) -> None:
        """The PIN was right: the attempts before it do not count any more."""
        with self._lock:
            self._set(0)

    def _count(self) -> int:
        return self._bytes[0]

    def _set(self, count: int) -> None:
        self._bytes[0] = count
