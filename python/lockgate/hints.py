"""Hints for an application that cannot be found or imported.

Each function returns lines for the end of an error message, or none. Nothing is imported.
"""

import difflib
import importlib.util
import os
import pkgutil
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lockgate.privileges import closed_to_user

#: Directories added in front of `sys.path`, where the operator's modules are expected.
OWN_PLACES: list[str] = []

#: Words that are commands of other servers, and the equivalent here.
COMMANDS = {
    **dict.fromkeys(
        ("run", "serve", "start", "server", "runserver"), "lockgate module:attribute serves"
    ),
    **dict.fromkeys(("stop", "shutdown", "quit"), "lockgate ctl shutdown stops a running server"),
    "reload": "lockgate ctl reload reloads a running server",
    "status": "lockgate ctl status asks a running server",
}


def for_import(error: BaseException, module: str, trace: str) -> list[str]:
    """Hints for an import that failed with this traceback."""
    hints = []
    if isinstance(error, ModuleNotFoundError) and error.name:
        missing = error.name
        is_application = module == missing or module.startswith(f"{missing}.")
        # If a directory cannot be read, other causes cannot be checked.
        cures = closed_places() or [*replaced(missing), *inside_package(missing)]
        if is_application:
            cures = cures or commands(missing) or [*elsewhere(missing), *near_modules(missing)]
            cures = cures or near_commands(missing)
        hints += cures or other_virtualenv()
        if not hints and not is_application:
            hints.append(f"is it installed for {sys.executable}?")
    elif isinstance(error, ImportError) and "relative import" in str(error):
        hints += relative_import(module)
    if isinstance(error, (ImportError, AttributeError)):
        hints += shadowing(trace)
    return lines(hints)


def lines(hints: Sequence[str]) -> list[str]:
    return [f"  hint: {hint}" for hint in hints]


def places() -> list[str]:
    return [
        f"  working directory: {os.getcwd()}",
        f"  sys.path begins with: {', '.join(sys.path[:3])}",
    ]


def near_names(wanted: str, known: Sequence[str]) -> list[str]:
    near = difflib.get_close_matches(wanted, known)
    return [f"did you mean {' or '.join(near)}?"] if near else []


def near_modules(name: str) -> list[str]:
    """Modules in the same place with a similar name."""
    package, _, last = name.rpartition(".")
    parent = sys.modules.get(package)
    where = list(getattr(parent, "__path__", [])) if package else OWN_PLACES
    prefix = f"{package}." if package else ""
    known = [found.name for found in pkgutil.iter_modules(where)]
    near = [prefix + near for near in difflib.get_close_matches(last, known)]
    return [f"did you mean {' or '.join(near)}?"] if near else []


def elsewhere(name: str) -> list[str]:
    """A subdirectory that has the missing module."""
    top = name.partition(".")[0]
    here = Path.cwd()
    for found in [*sorted(here.glob(f"*/{top}.py")), *sorted(here.glob(f"*/{top}/__init__.py"))]:
        below = found.relative_to(here)
        return [f"there is {below}; try --chdir {below.parts[0]}"]
    return []


def commands(name: str) -> list[str]:
    return [f"{name} is not a command: {COMMANDS[name]}"] if name in COMMANDS else []


def near_commands(name: str) -> list[str]:
    from lockgate.__main__ import COMMANDS as OWN

    near = difflib.get_close_matches(name, OWN, 1, 0.75)
    return [f"did you mean the command lockgate {near[0]}?"] if near else []


def inside_package(name: str) -> list[str]:
    """The missing package is the working directory itself, or a parent of it."""
    top = name.partition(".")[0]
    if top in sys.modules:
        return []
    here = Path.cwd()
    for steps, place in enumerate([here, *here.parents][:3], start=1):
        if place.name == top and has_modules(place):
            up = "/".join([".."] * steps)
            return [f"the working directory is inside {top}: start above it, with --chdir {up}"]
    return []


def relative_import(module: str) -> list[str]:
    """The module was given without its package."""
    spec = importlib.util.find_spec(module) if "." not in module else None
    directory = Path(spec.origin).parent if spec and spec.origin else Path.cwd()
    return [
        f"{module} belongs to the package {directory.name}: write {directory.name}.{module}, "
        f"with --chdir {directory.parent}"
    ]


def replaced(name: str) -> list[str]:
    """A module of the standard library was imported instead of the operator's file of that name."""
    top = name.partition(".")[0]
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None) or "Python itself"
    # A directory without `__init__.py` is a package without a file of its own.
    portions = [os.path.realpath(path) for path in getattr(module, "__path__", [])]
    for own in own_files(top):
        if os.path.realpath(own) in portions:
            continue
        if module is not None and not os.path.realpath(file).startswith(os.path.realpath(own)):
            return [
                f"the module {top} is already imported, from {file}, so {own} cannot be: rename it"
            ]
    return []


def shadowing(trace: str) -> list[str]:
    """Files of the operator that are imported instead of modules of the standard library."""
    found = []
    for name in sorted(sys.stdlib_module_names):
        module = sys.modules.get(name)
        for own in own_files(name):
            file = getattr(module, "__file__", None) or own
            is_imported = os.path.realpath(file).startswith(os.path.realpath(own))
            if is_imported and (module is not None or own in trace):
                found.append(f"{own} is imported instead of Python's own module {name}: rename it")
    return found


def own_files(top: str) -> Iterator[str]:
    for directory in OWN_PLACES:
        for candidate in (f"{top}.py", top):
            path = os.path.join(directory, candidate)
            if os.path.isfile(path) or os.path.isfile(os.path.join(path, "__init__.py")):
                yield path
            elif candidate == top and has_modules(path):
                yield path


def has_modules(directory: str | Path) -> bool:
    try:
        return any(name.endswith(".py") for name in os.listdir(directory))
    except OSError:
        return False


def other_virtualenv() -> list[str]:
    active = os.environ.get("VIRTUAL_ENV", "")
    if not active or os.path.realpath(active) == os.path.realpath(sys.prefix):
        return []
    return [
        f"the virtualenv {active} is active, and this Lockgate is installed in {sys.prefix}: "
        f"install Lockgate in the active one, and start it with {active}/bin/lockgate"
    ]


def closed_places() -> list[str]:
    return [closed for directory in OWN_PLACES if (closed := closed_to_user(directory))]


def wsgi_modules(package: str = "") -> list[str]:
    """Modules named wsgi, in the package or in a subdirectory of the working directory."""
    module = sys.modules.get(package)
    if package:
        directories = [Path(path) for path in getattr(module, "__path__", [])]
        return [f"{package}.wsgi" for path in directories if (path / "wsgi.py").is_file()]
    return [f"{path.parent.name}.wsgi" for path in sorted(Path.cwd().glob("*/wsgi.py"))]


def for_module(module: ModuleType) -> list[str]:
    """Hints for a module that has no application."""
    found = wsgi_modules(module.__name__) or wsgi_modules()
    hints = [f"the application of a Django project is in its wsgi module: {name}" for name in found]
    return lines(replaced(module.__name__) or hints[:1])


def callables(where: Any) -> list[str]:
    """Public names that could be an application or a factory and belong to this module."""
    return [
        name
        for name, value in vars(where).items()
        if re.match(r"[^\W_]", name) and callable(value) and not is_foreign(value, where)
    ]


def is_foreign(value: Any, where: Any) -> bool:
    """Whether the value was imported into this module from another one."""
    if not isinstance(where, ModuleType):
        return False
    try:
        origin = getattr(value, "__module__", where.__name__)
        return origin != where.__name__ and (isinstance(value, type) or hasattr(value, "__code__"))
    except Exception:
        # Proxies, such as `flask.request`, raise their own exceptions outside of a request.
        return True
