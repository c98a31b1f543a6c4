"""The command line that `ps` shows, where the package `setproctitle` is installed.

It is imported in the supervisor, before the first fork, and found there by its children: a worker
that has become another user may not be able to read it.
"""

from __future__ import annotations

try:
    from setproctitle import setproctitle
except ImportError:
    setproctitle = None


def show(title: str) -> None:
    if setproctitle is not None:
        setproctitle(title)
