"""What a test needs beside the package. A test skips where that is missing; in CI it fails."""

import importlib.util
import os
import shutil

import pytest


def require_module(name: str) -> None:
    """Needs an importable package of requirements/applications.txt."""
    if importlib.util.find_spec(name) is None:
        missing(f"the package {name} is not installed (requirements/applications.txt)")


def require_program(name: str, *, package: str, directories: tuple[str, ...] = ()) -> str:
    """Needs a program of a Debian package; returns its path."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *directories]))
    if path is None:
        missing(f"the program {name} is not installed (Debian package {package})")
    return path


def missing(reason: str) -> None:
    """Skips the test, or the module that asks for it; fails in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)
