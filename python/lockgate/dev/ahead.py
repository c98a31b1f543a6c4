"""Imports ahead: the supervisor imports the framework, and each worker inherits it.

A reload then imports the developer's own modules only. The framework is not the operator's code:
it is the same for each version of the application. If a file of it changes, the next worker imports
it itself.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

#: By the kind of an application. None of these starts a thread or reads settings at its import.
MODULES = {
    "flask": ("flask", "werkzeug.debug.tbtools"),
    "django": (
        "django.core.handlers.wsgi",
        "django.core.management",
        "django.core.checks",
        "django.db.models",
        "django.forms",
        "django.template.backends.django",
        "django.contrib.staticfiles.handlers",
    ),
    "pyramid": ("pyramid.config",),
}
#: What a worker itself needs, when the application has loaded.
OWN = ("lockgate.dev.middleware.validation", "lockgate.dev.error_page")

#: Name, file, time of change and size of what was imported here.
_imported: list[tuple[str, str, int, int]] = []


def import_framework(kind: str, directories: Iterable[Path]) -> None:
    """Imports the framework, unless one of the directories, which come first on `sys.path`, has
    modules of its name."""
    modules = MODULES.get(kind, ())
    packages = {module.partition(".")[0] for module in modules}
    if any(has_module(directory, name) for directory in directories for name in packages):
        return
    before = set(sys.modules)
    for module in (*modules, *OWN):
        try:
            importlib.import_module(module)
        except Exception:
            # The worker reports it, if the application needs the module.
            continue
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if isinstance(file, str) and (state := state_of(file)):
            _imported.append((name, file, *state))


def has_module(directory: Path, name: str) -> bool:
    return (directory / name).exists() or (directory / f"{name}.py").exists()


def state_of(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def drop_changed() -> None:
    """Has this process import everything itself if a file has changed, as after an upgrade of a
    package. Call before the application is imported."""
    if all(state_of(file) == (time, size) for _, file, time, size in _imported):
        return
    for name, *_ in _imported:
        if not name.startswith("lockgate."):
            sys.modules.pop(name, None)
    _imported.clear()
