"""The exec of an upgrade: this process starts its program again, from disk.

Signals are blocked meanwhile (`lockgate.signals`), because the new program has no handlers at
first. Those that arrive stay pending until the new program unblocks them.
"""

import os
import sys
from collections.abc import Mapping, Sequence


def command() -> list[str]:
    """The interpreter and the original arguments."""
    if not sys.executable:
        raise RuntimeError("Python does not know its executable: sys.executable is empty")
    return [sys.executable, *sys.orig_argv[1:]]


def become(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: str | None,
) -> None:
    """Replaces this program by `arguments`. Raises OSError if that fails, with nothing changed."""
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
