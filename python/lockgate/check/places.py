"""Places in the application's own code: not in Python's, an installed package's or Lockgate's."""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from lockgate.check.finding import Place

LIBRARIES = tuple(
    os.path.realpath(path) + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_path(name))
)
#: Installed packages that are the application's own: it is named by them.
_claimed: set[str] = set()
LOCKGATE = str(Path(__file__).resolve().parent.parent) + os.sep


def claim(package: str) -> None:
    """An installed package that counts as the application's own."""
    _claimed.add(package)
    is_own.cache_clear()


def is_claimed(path: str) -> bool:
    parts = path.split(os.sep)
    for number, part in enumerate(parts[:-1]):
        if part in ("site-packages", "dist-packages"):
            return parts[number + 1].removesuffix(".py") in _claimed
    return False


@lru_cache(maxsize=4096)
def is_own(filename: str) -> bool:
    """Whether a file belongs to the application."""
    if filename.startswith("<"):
        return False
    path = os.path.realpath(filename)
    if is_claimed(path):
        return True
    if path.startswith((*LIBRARIES, LOCKGATE)):
        return False
    return not any(part in ("site-packages", "dist-packages") for part in path.split(os.sep))


@lru_cache(maxsize=4096)
def is_lockgate(filename: str) -> bool:
    return os.path.realpath(filename).startswith(LOCKGATE)


def of_frame(frame: FrameType) -> Place:
    return Place(frame.f_code.co_filename, frame.f_lineno)


def of_code(code: CodeType) -> Place | None:
    if not is_own(code.co_filename):
        return None
    return Place(code.co_filename, code.co_firstlineno)


def own_frame(frame: FrameType | None) -> Place | None:
    """The innermost own frame of a stack."""
    while frame is not None:
        if is_own(frame.f_code.co_filename):
            return of_frame(frame)
        frame = frame.f_back
    return None


def caller(frame: FrameType | None) -> FrameType | None:
    """The innermost frame that is not Lockgate's."""
    while frame is not None and is_lockgate(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def calling(frame: FrameType | None) -> Place | None:
    """The line that calls Lockgate, if it is an own one and not a framework's."""
    frame = caller(frame)
    if frame is None or not is_own(frame.f_code.co_filename):
        return None
    return of_frame(frame)


def of_traceback(error: BaseException) -> Place | None:
    """The innermost own frame that an exception has passed."""
    found = None
    trace = error.__traceback__
    while trace is not None:
        if is_own(trace.tb_frame.f_code.co_filename):
            found = Place(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return found


def of_suspended(iterable: object) -> Place | None:
    """The `yield` at which a generator stands."""
    found = None
    inner: Any = iterable
    while inner is not None:
        frame = getattr(inner, "gi_frame", None)
        if frame is not None and is_own(frame.f_code.co_filename):
            found = of_frame(frame)
        inner = getattr(inner, "gi_yieldfrom", None)
    return found


def of_iterable(iterable: object) -> Place | None:
    """The function of a generator, or the class of another iterable."""
    code = getattr(iterable, "gi_code", None)
    if isinstance(code, CodeType):
        return of_code(code)
    return of_methods(type(iterable), ("__next__", "__iter__"))


def of_methods(kind: type, names: Iterable[str]) -> Place | None:
    for name in names:
        code = getattr(getattr(kind, name, None), "__code__", None)
        if isinstance(code, CodeType) and (place := of_code(code)):
            return place
    return None


def of_callable(application: object) -> Place | None:
    """Where an application is defined, or where a module of its own gives it a name."""
    code = getattr(application, "__code__", None)
    if isinstance(code, CodeType):
        return of_code(code)
    inner = getattr(application, "__func__", None)
    if inner is not None:
        return of_callable(inner)
    return of_methods(type(application), ("__call__",)) or of_name(application)


def of_name(value: object) -> Place | None:
    """The assignment that gives a global variable this value."""
    for module in own_modules():
        for name, held in list(vars(module).items()):
            if held is value and (place := assignment([module.__file__ or ""], {name})):
                return place
    return None


def own_modules() -> Iterator[ModuleType]:
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(module, ModuleType) and isinstance(file, str) and is_own(file):
            yield module


def own_files() -> list[str]:
    return [module.__file__ for module in own_modules() if module.__file__]


def assignment(files: Iterable[str], names: set[str]) -> Place | None:
    """Where one of the names gets its value: a variable, an attribute, a key or a keyword."""
    for file in files:
        lines = sorted(
            node.lineno for node in nodes(file) if bound(node) & names and hasattr(node, "lineno")
        )
        if lines:
            return Place(file, lines[-1])
    return None


def called(files: Iterable[str], name: str) -> Place | None:
    """Where a function or method of that name is called."""
    for file in files:
        for node in nodes(file):
            is_call = isinstance(node, ast.Call)
            if is_call and name in (getattr(node.func, "attr", ""), getattr(node.func, "id", "")):
                return Place(file, node.lineno)
    return None


def constant(files: Iterable[str], text: str) -> Place | None:
    """Where a text stands in the source."""
    for file in files:
        for node in nodes(file):
            if isinstance(node, ast.Constant) and node.value == text:
                return Place(file, node.lineno)
    return None


@lru_cache(maxsize=512)
def nodes(file: str) -> tuple[Any, ...]:
    try:
        text = Path(file).read_bytes()
        return tuple(ast.walk(ast.parse(text)))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return ()


def bound(node: ast.AST) -> set[str]:
    """The names that a node of the syntax tree gives a value to."""
    if isinstance(node, ast.Assign):
        return {name for target in node.targets for name in named(target)}
    if isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        return set(named(node.target))
    if isinstance(node, ast.keyword) and node.arg:
        return {node.arg}
    return set()


def named(target: ast.AST) -> Iterator[str]:
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Attribute):
        yield target.attr
    elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        yield str(target.slice.value)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from named(element)
