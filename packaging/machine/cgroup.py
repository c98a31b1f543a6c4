"""A cgroup with a memory limit, of version 1 or 2."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .roots import Unavailable

MOUNT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def memory_limit(bytes_: int) -> Iterator[Path]:
    """The directory of the cgroup, which goes when its processes have gone."""
    name = f"lockgate-{os.getpid()}-{time.monotonic_ns()}"
    if (MOUNT / "cgroup.controllers").exists():
        directory, limit = MOUNT / name, "memory.max"
    else:
        directory, limit = MOUNT / "memory" / name, "memory.limit_in_bytes"
    try:
        directory.mkdir()
        (directory / limit).write_text(str(bytes_))
    except OSError as error:
        raise Unavailable(f"this machine gives no cgroup with a memory limit: {error}") from None
    try:
        yield directory
    finally:
        # The kernel still counts processes for a moment that have just been reaped.
        deadline = time.monotonic() + 10
        while True:
            try:
                directory.rmdir()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
