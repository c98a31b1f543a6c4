"""File systems on which writes fail, which a test mounts for one server alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PRIVATE_MOUNTS = ["unshare", "--mount", "sh", "-c"]


def mounted(script: str) -> list[str]:
    """A prefix for a server that alone sees what `script` mounts.

    Skips the test where mounting is not allowed.
    """
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    tried = subprocess.run(
        [*PRIVATE_MOUNTS, script], capture_output=True, text=True, check=False, timeout=20
    )
    if tried.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {tried.stderr.strip()}")
    return [*PRIVATE_MOUNTS, script + ' && exec "$0" "$@"']


def small_disk(directory: Path, size: str = "1m") -> list[str]:
    """A file system of `size` at `directory`."""
    return mounted(f"mount -t tmpfs -o size={size},mode=1777 tmpfs {directory}")


def inside(pid: int, path: Path) -> Path:
    """`path` as the process sees it."""
    return Path(f"/proc/{pid}/root{path}")


def fill(path: Path) -> None:
    """Writes until the disk is full."""
    with path.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


def bytes_free(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
