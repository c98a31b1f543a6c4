"""Debuggers in a process that serves: `breakpoint()` at the terminal, and debugpy.

Requests run on several threads, and a terminal has one keyboard: a breakpoint that is reached while
another one has the prompt waits for it.
"""

from __future__ import annotations

import os
import pdb
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from lockgate.dev import terminal

_prompt = threading.RLock()
#: How long debugpy may wait for the port, which the worker before this one may still have.
_PORT_TIMEOUT = 60.0


class Debugger(pdb.Pdb):
    """pdb that has the terminal for itself."""

    def interaction(self, frame: FrameType | None, traceback: TracebackType | None = None) -> None:
        with _prompt:
            sys.stdout.flush()
            sys.stderr.flush()
            super().interaction(frame, traceback)


def use_terminal() -> None:
    """Makes `breakpoint()` and `pdb.set_trace()` wait for their turn. `PYTHONBREAKPOINT`, and a
    hook that another debugger has installed, stay."""
    if os.environ.get("PYTHONBREAKPOINT") or sys.breakpointhook is not sys.__breakpointhook__:
        return
    sys.breakpointhook = stop_here


def stop_here(*arguments: Any, **keywords: Any) -> None:
    """`breakpoint()`: the prompt is in the frame of the caller."""
    Debugger(nosigint=True).set_trace(sys._getframe(1))


def listen(host: str, port: int) -> None:
    """Has debugpy listen at this port, as soon as it is free. Does not wait."""
    threading.Thread(
        target=_listen, args=(host, port), name="lockgate-dev-debugpy", daemon=True
    ).start()


def _listen(host: str, port: int) -> None:
    import debugpy

    until = time.monotonic() + _PORT_TIMEOUT
    while True:
        try:
            debugpy.listen((host, port))
        except (OSError, RuntimeError) as error:
            if time.monotonic() < until:
                time.sleep(0.2)
                continue
            terminal.say(f"lockgate dev: debugpy cannot listen at {host}:{port}: {error}")
            return
        terminal.say(f"debugpy listens at {host}:{port}")
        return
