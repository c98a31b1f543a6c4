"""The import of `gunicorn` where it is not installed: its modules are those of this package.

A configuration or an application may import `gunicorn.glogging`, for example. The finder is the
last one, so that an installed gunicorn is found first.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_ALIAS = "gunicorn"


class _Finder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != _ALIAS and not fullname.startswith(f"{_ALIAS}."):
            return None
        try:
            own = importlib.util.find_spec(f"lockgate.{fullname}")
        except ModuleNotFoundError:
            return None
        if own is None:
            return None
        is_package = own.submodule_search_locations is not None
        return ModuleSpec(fullname, _Loader(own.name), is_package=is_package)


class _Loader(Loader):
    """Gives the module of this package a second name."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._own)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has replaced it by that of the alias.
        module.__spec__ = self._spec


def install() -> None:
    """Call in a process that runs code of the operator."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
