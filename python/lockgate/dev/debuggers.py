"""Debuggers in a process that serves: `breakpoint()` at the terminal, and debugpy.

Requests run on several threads, and a terminal has one keyboard: a breakpoint that is reached while
another request has the prompt waits until that one continues, quits, or is over.
"""

from __future__ import annotations

import os
import pdb
import sys
import threading
import time
from types import FrameType
from typing import Any

from lockgate.dev import terminal

#: Held by the thread whose request has the terminal.
_terminal = threading.Lock()
_sessions = threading.local()
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
#: How long debugpy may wait for the port, which the worker before this one may still have.
_PORT_TIMEOUT = 60.0


class Debugger(pdb.Pdb):
    """pdb that has the terminal for itself from the first prompt to the end of the session: also
    while `n` or `s` runs code, or another request would get the commands that follow."""

    #: What `breakpoint(header=…)` says at the next prompt.
    header: str | None = None
    #: The frame that the server has called, if this debugger has the terminal.
    _outermost: FrameType | None = None
    _is_over = False

    def interaction(self, frame: FrameType | None, traceback: Any = None) -> None:
        self._enter(frame)
        sys.stdout.flush()
        sys.stderr.flush()
        if self.header is not None:
            self.message(self.header)
            self.header = None
        try:
            super().interaction(frame, traceback)
        except BaseException:
            self._is_over = True
            raise
        finally:
            if self._is_over:
                self._leave()

    def set_continue(self) -> None:
        super().set_continue()
        self._is_over = True

    def set_quit(self) -> None:
        super().set_quit()
        self._is_over = True

    def trace_dispatch(self, frame: FrameType, event: str, arg: Any) -> Any:
        result = super().trace_dispatch(frame, event, arg)
        if event == "return" and frame is self._outermost:
            # The thread goes on to another request, which must not have this prompt.
            self.set_continue()
            self._leave()
        return result

    def _enter(self, frame: FrameType | None) -> None:
        self._is_over = False
        if _session() is self:
            return
        _terminal.acquire()
        _sessions.debugger = self
        self._outermost = outermost(frame)

    def _leave(self) -> None:
        self._outermost = None
        if _session() is self:
            _sessions.debugger = None
            _terminal.release()


def _session() -> Debugger | None:
    """The debugger that has the terminal in this thread."""
    return getattr(_sessions, "debugger", None)


def has_prompt() -> bool:
    """Whether a request of this process has the terminal."""
    return _terminal.locked()


def outermost(frame: FrameType | None) -> FrameType | None:
    """The frame of the application that the server or its middleware has called."""
    while frame is not None and frame.f_back is not None:
        if frame.f_back.f_code.co_filename.startswith(_PACKAGE):
            break
        frame = frame.f_back
    return frame


def use_terminal() -> None:
    """Makes `breakpoint()` and `pdb.set_trace()` wait for their turn. `PYTHONBREAKPOINT`, and a
    hook that another debugger has installed, stay."""
    if os.environ.get("PYTHONBREAKPOINT") or sys.breakpointhook is not sys.__breakpointhook__:
        return
    sys.breakpointhook = stop_here
    pdb.set_trace = stop_here


def stop_here(*arguments: Any, header: str | None = None, **keywords: Any) -> None:
    """`breakpoint()`: the prompt is in the frame of the caller."""
    # A breakpoint that `n` reaches belongs to the session of that `n`.
    debugger = _session() or Debugger(nosigint=True)
    debugger.header = header
    debugger.set_trace(sys._getframe(1))


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
