"""Records which lines of the application a request has run last: Python's trace function, on the
thread of the request. A debugger or coverage that traces already keeps its function.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from lockgate.check import places
from lockgate.check.finding import Place

#: Exceptions that are the ordinary end of something.
ENDS = (StopIteration, StopAsyncIteration, GeneratorExit)


@dataclass
class Raised:
    """An exception that has passed the application's own code."""

    error: BaseException
    #: The innermost own line that it has passed.
    place: Place


class Recorder:
    def __init__(self) -> None:
        self._latest: Place | None = None
        self.raised: Raised | None = None
        self._before: Callable[..., Any] | None = None

    def latest(self) -> Place | None:
        """The own line that has returned or yielded last."""
        return self._latest

    def __enter__(self) -> Recorder:
        self._before = sys.gettrace()
        self._latest, self.raised = None, None
        if self._before is None:
            sys.settrace(self._on_call)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is None:
            sys.settrace(None)

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not places.is_own(frame.f_code.co_filename):
            return None
        frame.f_trace_lines = False
        return self._on_event

    def _on_event(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "return":
            self._latest = places.of_frame(frame)
        elif event == "exception":
            error = argument[1]
            is_new = self.raised is None or self.raised.error is not error
            if is_new and isinstance(error, BaseException) and not isinstance(error, ENDS):
                self.raised = Raised(error, places.of_frame(frame))
        return self._on_event
