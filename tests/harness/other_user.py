"""Other users: where Python itself is out of their reach, it is brought there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness.small_disk import mounted


def open_to_others(directory: Path) -> None:
    """Lets other users pass to a directory below the one that pytest keeps for itself."""
    for place in [directory, *list(directory.parents)[:3]]:
        mode = place.stat().st_mode
        if not mode & 0o001:
            place.chmod(mode | 0o011)


def reachable_python(directory: Path) -> list[str]:
    """A prefix for a server whose workers become another user; `directory` is for mounting."""
    return mounted(reach_python(directory))


def reach_python(directory: Path) -> str:
    """The script of that prefix."""
    if os.geteuid() != 0:
        pytest.skip("only root can change the user")
    home = Path(sys.base_prefix)
    hidden = [place for place in [home, *home.parents] if not place.stat().st_mode & 0o001]
    if not hidden:
        return "true"
    aside = directory / "python"
    aside.mkdir()
    return (
        f"mount --bind {home} {aside} && mount -t tmpfs -o mode=755 tmpfs {hidden[-1]} && "
        f"mkdir -p {home} && mount --bind {aside} {home}"
    )
