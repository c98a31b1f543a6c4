"""Flask and maturin for an interpreter, fetched beforehand: the root has no network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from machine.roots import Unavailable

from .artefact import Artefact

FLASK = "flask==3.1.*"
# As pyproject.toml has it.
BUILD = "maturin>=1.16,<2"


def fetch(artefact: Artefact, cache: Path) -> Path:
    """A directory with the wheels of Flask, of what it needs, and of what sources need."""
    directory = cache / f"{artefact.abi}-{artefact.libc}-{artefact.machine}"
    if artefact.is_source:
        directory = directory.with_name(f"{directory.name}-source")
    complete = directory / ".complete"
    if complete.exists():
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    newest = "musllinux_1_2" if artefact.libc == "musl" else "manylinux_2_28"
    oldest = "musllinux_1_1" if artefact.libc == "musl" else "manylinux2014"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    command += [f"--python-version={artefact.number}", "--implementation=cp"]
    command += [f"--abi={artefact.abi}"]
    command += [f"--platform={newest}_{artefact.machine}"]
    command += [f"--platform={oldest}_{artefact.machine}"]
    command += [f"--dest={directory}", FLASK, *([BUILD] if artefact.is_source else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:]
        raise Unavailable(f"no wheels of Flask for CPython {artefact.version}: {''.join(last)}")
    complete.touch()
    return directory
