"""Source archives of Python packages, for the tests that their wheels do not have."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from harness.requirements import missing

#: Kept in the virtualenv, since pip runs the build of a package even for a download.
KEPT = Path(sys.prefix) / "sources"


def unpack_source(requirement: str, directory: Path) -> Path:
    """The source of a package, fetched from the index that pip uses."""
    name, _, version = requirement.partition("==")
    archive = KEPT / f"{name}-{version}.tar.gz"
    if not archive.exists():
        KEPT.mkdir(exist_ok=True)
        # Another test may do the same now, and only a rename on one file system is atomic.
        with tempfile.TemporaryDirectory(dir=KEPT) as place:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--no-binary", name, "--dest", place, requirement]
            fetched = subprocess.run(command, capture_output=True, text=True, timeout=100)
            if fetched.returncode != 0:
                missing(f"pip cannot download the source of {requirement}: {fetched.stderr[-300:]}")
            [received] = Path(place).glob("*.tar.gz")
            received.replace(archive)
    with tarfile.open(archive) as content:
        content.extractall(directory / "source", filter="data")
    [source] = (directory / "source").iterdir()
    return source
