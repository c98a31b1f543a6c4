"""Process titles, which `ps` shows as the command line, if `setproctitle` is installed.

The package is imported in the supervisor, before the first fork: a worker that has changed to
another user may be unable to read it.
"""

from __future__ import annotations

try:
    from setproctitle import setproctitle
except ImportError:
    setproctitle = None


def show(title: str) -> None:
    if setproctitle is not None:
        setproctitle(title)
