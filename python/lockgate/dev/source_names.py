"""Python source files, read without importing them: what a module binds, and its framework.

A file that cannot be parsed binds nothing here; its error is reported when it is imported.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: In this order, as `lockgate MODULE` and `flask run` try them.
USUAL_NAMES = ("application", "app")
USUAL_FACTORIES = ("create_app", "make_app")


@dataclass(frozen=True)
class Module:
    """The top level of a source file."""

    path: Path
    #: The names that it binds, with the number of positional arguments that a call needs if the
    #: name is a function here, else None.
    names: dict[str, int | None] = field(default_factory=dict)
    #: Names that are bound to a call of a class or function of this name, such as `Flask`.
    calls: dict[str, str] = field(default_factory=dict)
    #: Top-level packages that it imports.
    packages: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        """The framework whose package it imports, else "wsgi"."""
        for package, kind in (("flask", "flask"), ("django", "django"), ("pyramid", "pyramid")):
            if package in self.packages:
                return kind
        return "wsgi"

    def application(self) -> str | None:
        """What to load: `app`, or `create_app()` if it is a factory; None if nothing fits."""
        for name in USUAL_NAMES:
            if name in self.names:
                return self.spelled(name)
        instances = [name for name, called in self.calls.items() if called == "Flask"]
        if len(instances) == 1:
            return instances[0]
        for name in USUAL_FACTORIES:
            if name in self.names:
                return f"{name}()"
        return None

    def spelled(self, name: str) -> str:
        """The name, with parentheses if it is a function that cannot be an application: it can be
        called without arguments."""
        return f"{name}()" if self.names.get(name) == 0 else name


def read(path: Path) -> Module:
    tree = parsed(path)
    names: dict[str, int | None] = {}
    calls: dict[str, str] = {}
    packages: set[str] = set()
    for statement in statements(tree.body if tree else []):
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names[name] = needed_arguments(statement)
            case ast.ClassDef(name=name):
                names[name] = None
            case ast.Import(names=aliases):
                for alias in aliases:
                    packages.add(alias.name.partition(".")[0])
                    names[alias.asname or alias.name.partition(".")[0]] = None
            case ast.ImportFrom(module=module, names=aliases, level=level):
                if module and not level:
                    packages.add(module.partition(".")[0])
                names.update({alias.asname or alias.name: None for alias in aliases})
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    bind(target, value, names, calls)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                bind(target, value, names, calls)
    return Module(path, names, calls, frozenset(packages))


def parsed(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, also those below `if`, `try` and `with`."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            for name in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, name, []))
            for handler in getattr(statement, "handlers", []):
                yield from statements(handler.body)


def bind(
    target: ast.expr, value: ast.expr, names: dict[str, int | None], calls: dict[str, str]
) -> None:
    if isinstance(target, ast.Name):
        names[target.id] = None
        called = value.func if isinstance(value, ast.Call) else None
        if isinstance(called, ast.Name | ast.Attribute):
            calls[target.id] = called.id if isinstance(called, ast.Name) else called.attr


def needed_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many arguments a call has to pass."""
    arguments = function.args
    optional = len(arguments.defaults)
    keywords = sum(default is None for default in arguments.kw_defaults)
    return len(arguments.posonlyargs) + len(arguments.args) - optional + keywords


def string_assigned(path: Path, name: str, searched: frozenset[Path] = frozenset()) -> str | None:
    """The text that a module assigns to a name, also by `from .base import *` of its package."""
    found = None
    tree = parsed(path)
    for statement in statements(tree.body if tree else []):
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Constant(value=str() as text)):
                found = text if target == name else found
            case ast.ImportFrom(module=str() as module, names=[ast.alias(name="*")], level=1):
                other = path.parent.joinpath(*module.split(".")).with_suffix(".py")
                if other not in searched:
                    searched |= {path, other}
                    found = string_assigned(other, name, searched) or found
    return found


def environment_default(path: Path, variable: str) -> str | None:
    """The value that a program gives a variable of the environment: `os.environ.setdefault(…)` or
    `os.environ[…] = …`."""
    tree = parsed(path)
    for node in ast.walk(tree) if tree else []:
        match node:
            case ast.Call(
                func=ast.Attribute(attr="setdefault"),
                args=[ast.Constant(value=name), ast.Constant(value=str() as value)],
            ) if name == variable:
                return value
            case ast.Assign(
                targets=[ast.Subscript(slice=ast.Constant(value=name))],
                value=ast.Constant(value=str() as value),
            ) if name == variable:
                return value
    return None
