"""Progress of commands on a terminal: a bar, and a line once something takes longer than a second.

Both go to standard error, and nothing is written where that is no terminal.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds until the first line, and between the first and later ones.
FIRST_AFTER = 1.0
AGAIN_AFTER = 10.0


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Writes what the command waits for, if that takes long."""
    if not sys.stderr.isatty():
        yield
        return
    is_done = threading.Event()
    thread = threading.Thread(target=report, args=(what, is_done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()


def report(what: str, is_done: threading.Event) -> None:
    began = time.monotonic()
    pause = FIRST_AFTER
    while not is_done.wait(pause):
        seconds = time.monotonic() - began
        print(f"lockgate: {what} ({seconds:.0f} s)", file=sys.stderr, flush=True)
        pause = AGAIN_AFTER


class Bar:
    """The part of a known number of steps that is done."""

    def __init__(self, total: int, is_quiet: bool) -> None:
        self.total = total
        self.done = 0
        self.is_shown = not is_quiet and sys.stderr.isatty()
        self.shown_at = 0.0

    def advance(self) -> None:
        self.done += 1
        now = time.monotonic()
        if self.is_shown and now - self.shown_at >= 0.1:
            self.shown_at = now
            filled = 30 * self.done // self.total
            bar = "#" * filled + "." * (30 - filled)
            print(f"\r[{bar}] {self.done} of {self.total}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.shown_at:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
