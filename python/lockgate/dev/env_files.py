"""`.env` and `.flaskenv`, as `flask run` reads them: with python-dotenv, if it is installed.

A variable of the process wins over both files, and `.env` over `.flaskenv`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NAMES = (".flaskenv", ".env")


@dataclass(frozen=True)
class EnvFiles:
    """The files that were found, and the variables that they add."""

    paths: list[Path] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    #: The file that each variable is from.
    origins: dict[str, Path] = field(default_factory=dict)
    #: There are files, and python-dotenv is missing.
    is_unread: bool = False


def read(directory: Path, environment: Mapping[str, str]) -> EnvFiles:
    """The files of the directory, or of the nearest parent that has one."""
    if environment.get("FLASK_SKIP_DOTENV", "").lower() in ("1", "true", "yes"):
        return EnvFiles()
    found = [path for name in NAMES if (path := nearest(directory, name))]
    if not found:
        return EnvFiles()
    try:
        from dotenv import dotenv_values
    except ImportError:
        return EnvFiles(found, is_unread=True)
    variables: dict[str, str] = {}
    origins: dict[str, Path] = {}
    for path in found:
        for name, value in dotenv_values(path).items():
            if value is not None and name not in environment:
                variables[name], origins[name] = value, path
    return EnvFiles(found, variables, origins)


def nearest(directory: Path, name: str) -> Path | None:
    directory = directory.absolute()
    for place in (directory, *directory.parents):
        if (place / name).is_file():
            return place / name
    return None
