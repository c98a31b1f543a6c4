"""Execution of `gunicorn.conf.py`, as gunicorn executes it: as a module named `__config__`, or by
the import of a module, with the working directory on `sys.path`.

Only processes that may die execute it: never the supervisor.
"""

import importlib
import importlib.util
import inspect
import linecache
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType, TracebackType
from typing import Any

from lockgate.gunicorn import alias

Hook = Callable[..., Any]

#: gunicorn's hooks, and with how many arguments each is called.
HOOKS = {
    "on_starting": (1,),
    "on_reload": (1,),
    "when_ready": (1,),
    "pre_fork": (2,),
    "post_fork": (2,),
    "post_worker_init": (1,),
    "worker_int": (1,),
    "worker_abort": (1,),
    "pre_exec": (1,),
    "pre_request": (2,),
    "post_request": (4, 3, 2),
    "child_exit": (2,),
    "worker_exit": (2,),
    "nworkers_changed": (3,),
    "on_exit": (1,),
}


def execute(source: str, text: str | None = None) -> dict[str, Any]:
    """Executes `PATH`, `file:PATH` or `python:MODULE`; returns its names. With `text` it is that
    of the file, which may have changed since.

    Raises what the configuration raises; `describe` makes the text of it.
    """
    alias.install()
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    if source.startswith("python:"):
        return vars(_import_module(source.removeprefix("python:"), text))
    return vars(_execute_file(source.removeprefix("file:"), text))


def text_of(namespace: dict[str, Any]) -> str | None:
    """The text that was executed, if there was one."""
    loader = namespace.get("__loader__")
    return loader.text if isinstance(loader, _Loader) else None


def _import_module(name: str, text: str | None) -> ModuleType:
    # A second execution in the same process follows a reload: the file may have changed.
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    finder = _Finder(name, text)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)


def _execute_file(path: str, text: str | None) -> ModuleType:
    name = "__config__"
    if os.path.splitext(path)[1] == ".pyc":
        spec = importlib.util.spec_from_file_location(name, path)
    else:
        loader = _Loader(name, path, text)
        spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if not isinstance(spec, ModuleSpec) or spec.loader is None:
        raise ImportError(f"{path} is not Python", path=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class _Loader(SourceFileLoader):
    """Compiles the file each time: `__pycache__` would hide a change within the same second."""

    def __init__(self, name: str, path: str, text: str | None) -> None:
        super().__init__(name, path)
        #: What is executed instead of the file; what was executed, after that.
        self.text = text

    def get_code(self, fullname: str) -> Any:
        if self.text is None:
            content = self.get_data(self.path)
            code = self.source_to_code(content, self.path)
            self.text = importlib.util.decode_source(content)
            return code
        # Tracebacks show these lines.
        lines = self.text.splitlines(keepends=True)
        linecache.cache[self.path] = (len(self.text), None, lines, self.path)
        return self.source_to_code(self.text, self.path)


class _Finder(MetaPathFinder):
    """Has the module of this name loaded by `_Loader`."""

    def __init__(self, name: str, text: str | None) -> None:
        self._name = name
        self._text = text

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(fullname, spec.loader.path, self._text)
        return spec


def hook(namespace: dict[str, Any], name: str) -> Hook | None:
    """The hook of this name, or None. As in gunicorn it may be given as `"module.function"`."""
    found = namespace.get(name)
    if isinstance(found, str):
        module, _, attribute = found.rpartition(".")
        if not module:
            raise TypeError(f"{name} = {found!r}: write it as 'module.function'")
        found = getattr(importlib.import_module(module), attribute)
    if found is None:
        return None
    if not callable(found):
        raise TypeError(f"{name} is not callable: {found!r}")
    return found  # type: ignore[no-any-return]


def arguments(name: str, function: Hook, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Those of `given` that the hook takes: `post_request` may take the last ones or not."""
    count = len(positional(function))
    return given[:count] if count in HOOKS[name] else given


def positional(function: Hook) -> list[str]:
    """The names of the positional parameters; `*args` stands for any number."""
    kinds = inspect.Parameter
    names = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
        elif parameter.kind is kinds.VAR_POSITIONAL:
            names.append(f"*{parameter.name}")
    return names


def describe(error: BaseException) -> str:
    """The traceback as Python prints it, without the frames of the server that lead to the file."""
    first: TracebackType | None = error.__traceback__
    while first is not None and _is_machinery(first.tb_frame.f_code.co_filename):
        first = first.tb_next
    return "".join(traceback.format_exception(type(error), error, first)).rstrip()


def _is_machinery(filename: str) -> bool:
    own = os.path.dirname(__file__)
    return (
        filename == importlib.__file__
        or filename.startswith("<frozen importlib")
        or os.path.dirname(filename) == own
    )
