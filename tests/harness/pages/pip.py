"""Stands in for pip in pages: what `pip install` names must be installed already."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

PIP = re.compile(r"^[A-Za-z0-9][\w.-]*")
NOT_PUBLISHED = "lockgate"


def main(arguments: list[str]) -> int:
    """`pip install NAME` succeeds if the virtualenv of the pages has it."""
    if not arguments or arguments[0] not in ("install", "uninstall"):
        return subprocess.call([sys.executable, "-m", "pip", *arguments])
    for argument in arguments[1:]:
        if argument.startswith("-"):
            continue
        if argument.startswith(".") or argument.endswith((".txt", ".toml")) or "/" in argument:
            if not Path(argument.partition("[")[0]).exists():
                print(f"pip: no such file or directory: {argument}")
                return 1
            continue
        name = PIP.match(argument)
        if name is None:
            print(f"pip: not a name of a package: {argument}")
            return 1
        if name[0] == NOT_PUBLISHED:
            print("pip: Lockgate is not on PyPI yet: install it from the repository")
            return 1
        try:
            importlib.metadata.version(name[0])
        except importlib.metadata.PackageNotFoundError:
            print(f"pip: {name[0]} is not in the virtualenv: add it to requirements/pages.txt")
            return 1
    return 0
