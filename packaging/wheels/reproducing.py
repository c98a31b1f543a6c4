"""Two builds of one wheel in different folders, compared byte by byte."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wheels.archive import Wheel
from wheels.building import Job
from wheels.toolchain import Toolchain

# Their lengths differ, too.
FOLDERS = ("one", "another/below")


def differences(job: Job, rust: Toolchain, build: Callable[[Job, Toolchain], Path]) -> list[str]:
    """What differs between two builds of the committed sources; nothing if no byte does."""
    with tempfile.TemporaryDirectory(prefix="lockgate-") as scratch:
        wheels = [build(elsewhere(job, Path(scratch) / name), rust) for name in FOLDERS]
        if wheels[0].read_bytes() == wheels[1].read_bytes():
            return []
        one, other = (Wheel.read(wheel).members for wheel in wheels)
        changed = [name for name in one.keys() & other.keys() if one[name] != other[name]]
        only = one.keys() ^ other.keys()
        lines = [f"{name} differs" for name in sorted(changed)]
        lines += [f"{name} is only in one of the builds" for name in sorted(only)]
        return lines or ["the members are the same and the archives are not"]


def elsewhere(job: Job, folder: Path) -> Job:
    """The same job with its sources, output and cargo's folder below `folder`."""
    tree = folder / "lockgate"
    tree.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "-C", str(job.tree), "archive", "HEAD"], check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
    return replace(job, tree=tree, out=folder / "dist", cargo_target=folder / "target")
