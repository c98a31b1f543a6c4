"""Modules that two applications of a process have under one name.

Python has one module of a name in a process: the application that imports it second would get the
module of the first, without an error. Such an import raises `AmbiguousModule` instead.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import all_suffixes
from types import ModuleType
from typing import Any


class AmbiguousModule(Exception):
    """Two applications have a module of this name.

    No ImportError: applications catch that one where a module is optional.
    """


class Applications:
    """The directories in which the modules of each application are, with its name for messages."""

    def __init__(
        self, applications: Iterable[tuple[str, Sequence[str]]], pythonpath: Iterable[str] = ()
    ) -> None:
        self._applications = [
            (name, [os.path.abspath(directory) for directory in directories])
            for name, directories in applications
        ]
        #: Names of modules that all applications find in the same place.
        self._common = {name for directory in pythonpath for name in names_in(directory)}
        directories = {
            os.path.realpath(directory)
            for _, directories in self._applications
            for directory in directories
        }
        counts = Counter(name for directory in directories for name in names_in(directory))
        #: Names in more than one directory, which may be of one application.
        self._repeated = {name for name, count in counts.items() if count > 1} - self._common

    def is_ambiguous(self, name: str) -> bool:
        return len(self.places(name)) > 1

    def places(self, name: str) -> dict[str, str]:
        """The different files of this module, each with the first application that has it."""
        found: dict[str, str] = {}
        if name in self._repeated:
            for application, directories in self._applications:
                file = next(filter(None, (module_file(one, name) for one in directories)), None)
                if file is not None:
                    found.setdefault(os.path.realpath(file), application)
        return found

    def check(self, name: str) -> None:
        """Raises AmbiguousModule if two applications have a module of this name."""
        places = self.places(name)
        if len(places) > 1:
            shown = " and ".join(f"{file} ({owner})" for file, owner in places.items())
            raise AmbiguousModule(
                f"more than one application has a module {name}: {shown}; Python has one module of "
                "a name in a process: rename one, or move it into a package. An application that "
                'is one file can be named by its path, as app = "/srv/shop/app.py"'
            )


class Guard(MetaPathFinder):
    """Refuses ambiguous modules at their first import, and finds none."""

    def __init__(self, applications: Applications) -> None:
        self._applications = applications

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> Any:
        if path is None:
            self._applications.check(fullname)
        return None


_present: Applications | None = None


def guard(
    applications: Iterable[tuple[str, str | None, str | None]],
    pythonpath: Iterable[str],
    is_program: bool,
) -> None:
    """From now on ambiguous modules are refused. The first application is that of the server.

    Each has its name, its directory and its file; None is the directory of the server, and no file.

    Raises AmbiguousModule if one is imported already: by a program, or a configuration in Python.
    """
    here = os.getcwd()
    places: list[tuple[str, list[str]]] = []
    for name, directory, file in applications:
        directory = directory or here
        directories = [directory]
        if file is not None:
            directories.insert(0, os.path.dirname(os.path.join(directory, file)))
        if is_program and not places:
            # The modules of a program are beside it.
            directories = [sys.path[0] or here]
        places.append((name, directories))
    install(Applications(places, pythonpath))


def install(applications: Applications) -> None:
    """See `guard`."""
    global _present
    for name, module in list(sys.modules.items()):
        file = origin(module) if "." not in name else None
        if file is not None and os.path.realpath(file) in applications.places(name):
            applications.check(name)
    _present = applications
    sys.meta_path.insert(0, Guard(applications))


def is_ambiguous(name: str) -> bool:
    return _present is not None and _present.is_ambiguous(name)


def origin(module: ModuleType | None) -> str | None:
    """The file of a module, or the directory of a package without a file."""
    file = getattr(module, "__file__", None)
    if file is None:
        file = next(iter(getattr(module, "__path__", [])), None)
    return file if isinstance(file, str) else None


def names_in(directory: str) -> set[str]:
    """Names of modules that may be in this directory."""
    try:
        return {entry.partition(".")[0] for entry in os.listdir(directory)}
    except OSError:
        return set()


def module_file(directory: str, name: str) -> str | None:
    """The file of a module, or the directory of a package without a file of its own."""
    base = os.path.join(directory, name)
    for stem in (os.path.join(base, "__init__"), base):
        for suffix in all_suffixes():
            if os.path.isfile(stem + suffix):
                return stem + suffix
    return base if has_modules(base) else None


def has_modules(directory: str) -> bool:
    try:
        entries = os.listdir(directory)
    except OSError:
        return False
    return any(
        entry.endswith(".py") or os.path.isfile(os.path.join(directory, entry, "__init__.py"))
        for entry in entries
    )
