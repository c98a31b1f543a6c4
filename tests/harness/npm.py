"""Files of npm packages that pages in tests use."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from harness.requirements import require_program


def file_of_package(package: str, name: str, directory: Path) -> Path:
    """One file of a package, fetched from the registry that npm uses. Nothing of it is executed."""
    program = require_program("npm", package="npm")
    packed = subprocess.run(
        [program, "pack", "--silent", "--pack-destination", directory, package],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    archive = directory / packed.stdout.strip().splitlines()[-1]
    with tarfile.open(archive) as content:
        member = content.extractfile(f"package/{name}")
        assert member is not None, f"{package} has no file {name}"
        found = directory / Path(name).name
        found.write_bytes(member.read())
    return found
