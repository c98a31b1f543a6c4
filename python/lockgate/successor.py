"""The program that this process would be if it were started anew, and becoming it (exec).

Signals are blocked on the way (`lockgate.signals`), so that none finds the new program without a
handler: they come in when it has unblocked them.
"""

import os
import sys
from collections.abc import Mapping, Sequence


def command() -> list[str]:
    """The interpreter, and its arguments as they were given."""
    if not sys.executable:
        raise RuntimeError("Python does not know its own executable (sys.executable)")
    return [sys.executable, *sys.orig_argv[1:]]


def become(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: str | None,
) -> None:
    """Replaces this program by `arguments`. Comes back only by an OSError, with nothing changed."""
    # Not by path: a deploy may move or remove the directory in the meantime.
    before = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    try:
        if directory is not None:
            os.chdir(directory)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.execve(arguments[0], list(arguments), environment)
    finally:
        os.fchdir(before)
        os.close(before)
