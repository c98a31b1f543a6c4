"""Other users: where Python or this checkout is out of their reach, it is brought there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness.small_disk import mounted


def open_to_others(directory: Path) -> None:
    """Lets other users pass to a directory below the one that pytest keeps for itself."""
    for place in [directory, *list(directory.parents)[:4]]:
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
    homes = {Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parents[2]}
    # A directory below another one is mounted with it.
    homes = {home for home in homes if not homes & set(home.parents)}
    for home in homes:
        if not home.stat().st_mode & 0o001:
            pytest.skip(f"{home} is closed to other users: chmod o+x")
    hidden = {home: _outermost_hidden(home) for home in homes}
    commands = []
    for number, home in enumerate(home for home in homes if hidden[home]):
        aside = directory / f"aside-{number}"
        aside.mkdir()
        commands.append((f"mount --bind {home} {aside}", f"mkdir -p {home}", aside, home))
    covers = [f"mount -t tmpfs -o mode=755 tmpfs {place}" for place in {*hidden.values()} - {None}]
    back = [
        line for _, made, aside, home in commands for line in (made, f"mount --bind {aside} {home}")
    ]
    return " && ".join([*(begun for begun, *_ in commands), *covers, *back]) or "true"


def _outermost_hidden(home: Path) -> Path | None:
    """The place furthest out that keeps others from passing to it."""
    hidden = [place for place in [home, *home.parents] if not place.stat().st_mode & 0o001]
    return hidden[-1] if hidden else None
