"""Exceptions that a framework catches and answers with 500, for the page of the admin listener."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

#: The modules of signals that are sent for such an exception. An application that uses a framework
#: has imported it.
SIGNALS = ("django.core.signals", "flask.signals")


def connect(caught: Callable[[BaseException], None]) -> None:
    """From now on `caught` is called with each such exception."""

    def receive(*_senders: object, exception: BaseException | None = None, **_more: Any) -> None:
        # Django sends its signal while it handles the exception.
        found = exception or sys.exc_info()[1]
        if found is not None:
            caught(found)

    for name in SIGNALS:
        module = sys.modules.get(name)
        signal = getattr(module, "got_request_exception", None)
        if signal is not None:
            signal.connect(receive, weak=False)
