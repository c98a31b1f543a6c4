"""Wheels of other versions of the server, and an environment in which one replaces the other.

A wheel is made of the installed package: it has another number, and other layouts of the memory
that processes share. `LOCKGATE_OTHER_WHEEL` names a real wheel of another version instead.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from harness.process import clean_environment

#: Name and version of each layout, as the extension module has them in one text.
LAYOUTS = re.compile(rb"scoreboard \d+\n(?:[a-z-]+ \d+\n)+[a-z-]+ \d+")


def wheel_of_installed(
    directory: Path,
    version: str,
    *,
    other_layouts: str = "",
    other_modules: Mapping[str, str] | None = None,
) -> Path:
    """A wheel of the installed package with this number.

    The layouts that the pattern `other_layouts` matches have other versions than the installed
    package, and `other_modules` has the text of modules by their paths.
    """
    installed = importlib.metadata.distribution("lockgate")
    metadata = installed.locate_file(f"lockgate-{installed.version}.dist-info")
    tags = re.findall(r"^Tag: (\S+)$", (metadata / "WHEEL").read_text(), re.MULTILINE)
    contents = {}
    for file in installed.files or []:
        if file.parts[0] == "lockgate" and file.suffix != ".pyc":
            contents[str(file)] = file.read_binary()
            if file.suffix == ".so":
                contents[str(file)] = with_layouts(contents[str(file)], other_layouts)
    for name, text in (other_modules or {}).items():
        assert name in contents, f"the package has no {name}"
        contents[name] = text.encode()
    folder = f"lockgate-{version}.dist-info"
    own = (metadata / "METADATA").read_text()
    contents[f"{folder}/METADATA"] = re.sub(
        r"^Version: .*$", f"Version: {version}", own, count=1, flags=re.MULTILINE
    ).encode()
    for name in ("WHEEL", "entry_points.txt"):
        contents[f"{folder}/{name}"] = (metadata / name).read_bytes()
    record = [f"{name},{digest(content)},{len(content)}" for name, content in contents.items()]
    record.append(f"{folder}/RECORD,,")
    contents[f"{folder}/RECORD"] = "\n".join(record).encode() + b"\n"
    path = directory / f"lockgate-{version}-{tags[0]}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def with_layouts(module: bytes, other: str) -> bytes:
    """An extension module with the same layouts but for those that the pattern matches."""
    found = LAYOUTS.findall(module)
    assert len(found) == 1, f"the extension module has {len(found)} texts of layouts"
    lines = found[0].decode().split("\n")
    for number, line in enumerate(lines):
        name, version = line.split(" ")
        if other and re.fullmatch(other, name):
            # Of the same length, since nothing else in the module may move.
            lines[number] = f"{name} {version[:-1]}{9 - int(version[-1])}"
    return module.replace(found[0], "\n".join(lines).encode())


def digest(content: bytes) -> str:
    hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={hashed.decode().rstrip('=')}"


class Environment:
    """A virtual environment in which a wheel is installed over the other."""

    def __init__(self, directory: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
        self.python = directory / "bin" / "python"
        self.program = directory / "bin" / "lockgate"

    def install(self, wheel: Path) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet"]
        command += ["--no-index", "--no-deps", "--no-compile", "--force-reinstall", str(wheel)]
        environment = {**clean_environment(), "PIP_REQUIRE_VIRTUALENV": "0"}
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert result.returncode == 0, result.stderr

    def run(self, *arguments: str, chdir: Path) -> str:
        """What `lockgate ARGUMENTS` prints."""
        result = subprocess.run(
            [self.program, *arguments],
            cwd=chdir,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout


def other_wheel() -> Path | None:
    """A real wheel of another version, for `make test-upgrade`."""
    path = os.environ.get("LOCKGATE_OTHER_WHEEL")
    return Path(path).resolve() if path else None
