"""The error of a function of uWSGI that Lockgate does not have: who called, and what to use."""

from __future__ import annotations

import sys
from typing import NoReturn

#: Frames of these modules are not the caller.
OWN = "lockgate.uwsgi."


class NotSupportedError(NotImplementedError, AttributeError):
    """A function of uWSGI that Lockgate does not have.

    Also an `AttributeError`: `hasattr` is false for names that uWSGI has only with an option.
    """

    __module__ = "uwsgi"


def refuse(name: str, advice: str) -> NoReturn:
    """Raises the error of `uwsgi.NAME`, or of a decorator.

    Raises:
        NotSupportedError: always.
    """
    raise NotSupportedError(f"{name} ({caller()}) is not available under Lockgate: {advice}")


def caller() -> str:
    """The place of the innermost frame outside this package: `FILE:LINE`."""
    frame = sys._getframe(1)  # noqa: SLF001
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(OWN):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
