"""Signal handlers of an application: whether they call the one that they have found."""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import Any

from lockgate.signals import HANDLED_BY_WORKERS

#: A handler may do as much as it likes, such as waiting for a lock.
PROBE_SECONDS = 2.0

#: In a process that tries a handler: the pipe that hears of a call of `found`.
_probe: int | None = None


def install() -> None:
    """Installs `found` for the signals that workers handle, before the import."""
    for number in HANDLED_BY_WORKERS:
        signal.signal(number, found)


def found(number: int, frame: object) -> None:
    """What the application finds. Does what the signal does in a program without handlers."""
    if _probe is not None:
        os.write(_probe, b"called")
        os._exit(0)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def calls_found(handler: Any, number: int) -> bool:
    """Whether a handler calls the one that it has found. It runs in a child process."""
    global _probe
    if not callable(handler):
        return False
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        _probe = sender
        os.close(receiver)
        try:
            handler(number, sys._getframe())
        finally:
            os._exit(0)
    os.close(sender)
    try:
        # The end of the process closes the pipe.
        is_ready, _, _ = select.select([receiver], [], [], PROBE_SECONDS)
        return bool(is_ready) and os.read(receiver, 16) == b"called"
    finally:
        os.close(receiver)
        end(child)


def end(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        # The application ignores SIGCHLD, so the kernel has reaped it.
        return
