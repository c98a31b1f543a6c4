"""Import of mounted applications: each with a working directory and variables of its own.

What belongs to the process is shared: `sys.modules`, `os.environ`, the settings of Django.
"""

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile

from lockgate.loading import AppImportError

#: The variable by which a Django project names itself, usually in its module `wsgi`.
DJANGO = "DJANGO_SETTINGS_MODULE"
_django_at_start = os.environ.get(DJANGO)


class ImportScope:
    """The directory and the variables of an application while it is imported.

    Afterwards both are as before. Its directories are last in `sys.path` then: it finds modules
    that it imports later, and they hide none that another application imports.
    """

    def __init__(
        self, directory: str | None, variables: Mapping[str, str], file: str | None
    ) -> None:
        self._directory = directory
        self._changes: dict[str, str | None] = dict(variables)
        self._file = file
        self._before: dict[str, str | None] = {}
        self._path: list[str] = []
        self._descriptor = -1

    def enter(self) -> None:
        """Raises AppImportError if the directory cannot be the working directory."""
        self._path = list(sys.path)
        if self._directory is not None:
            # Leads back even where the path is gone, and needs no permission to read.
            self._descriptor = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
            try:
                os.chdir(self._directory)
            except OSError as error:
                self._leave_directory()
                raise AppImportError(f"chdir = {self._directory}: {error.strerror}") from None
        if os.environ.get(DJANGO) != _django_at_start:
            # The import of another application has set it.
            self._changes.setdefault(DJANGO, _django_at_start)
        self._before = {name: os.environ.get(name) for name in self._changes}
        set_variables(self._changes)

    def leave(self) -> None:
        """Raises AppImportError if Django has the settings of another project."""
        wanted = os.environ.get(DJANGO)
        set_variables(self._before)
        own = {os.path.abspath(".")}
        if self._file is not None:
            own.add(os.path.dirname(os.path.abspath(self._file)))
        self._leave_directory()
        sys.path[:] = rearranged(self._path, sys.path, own)
        check_django(wanted)

    def _leave_directory(self) -> None:
        if self._descriptor >= 0:
            os.fchdir(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def set_variables(variables: Mapping[str, str | None]) -> None:
    """Sets variables of the process; None removes one."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def rearranged(before: Sequence[str], now: Sequence[str], own: Collection[str]) -> list[str]:
    """`sys.path` after an import: as before, and what the import has added; `own` is last."""
    added = [entry for entry in now if entry not in before and entry not in own]
    first = [entry for entry in takewhile(lambda entry: entry not in before, now) if entry in added]
    last = [entry for entry in now if entry in own and entry not in before]
    kept = [entry for entry in before if entry in now]
    return [*first, *kept, *(entry for entry in added if entry not in first), *last]


def check_django(wanted: str | None) -> None:
    """Raises AppImportError if Django is configured with other settings than those wanted."""
    conf = sys.modules.get("django.conf")
    if wanted is None or conf is None or not conf.settings.configured:
        return
    present = getattr(conf.settings, "SETTINGS_MODULE", wanted)
    if present != wanted:
        raise AppImportError(
            f"Django has the settings {present} in this process, and this application needs "
            f"{wanted}: a process can have one Django project\n"
            "  hint: run the other project as a server of its own, behind a proxy"
        )
