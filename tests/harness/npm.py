"""npm packages, and files of them, that tests use."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from harness.requirements import require_program


def file_of_package(package: str, name: str, directory: Path) -> Path:
    """One file of a package, fetched from the registry that npm uses. Nothing of it is executed."""
    with _archive(package, directory) as content:
        member = content.extractfile(f"package/{name}")
        assert member is not None, f"{package} has no file {name}"
        found = directory / Path(name).name
        found.write_bytes(member.read())
    return found


def unpack_package(package: str, directory: Path) -> Path:
    """A package in `directory/node_modules`, as `npm install` leaves it; no script of it is run."""
    name = package[: package.rindex("@")]
    target = directory / "node_modules" / name
    with _archive(package, directory) as content:
        for member in content.getmembers():
            member.name = member.name.partition("/")[2]
        members = [member for member in content.getmembers() if member.name and member.isfile()]
        content.extractall(target, members, filter="data")
    return target


def _archive(package: str, directory: Path) -> tarfile.TarFile:
    program = require_program("npm", package="npm")
    packed = subprocess.run(
        [program, "pack", "--silent", "--pack-destination", directory, package],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return tarfile.open(directory / packed.stdout.strip().splitlines()[-1])
