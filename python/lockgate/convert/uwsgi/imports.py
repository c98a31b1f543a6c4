"""Whether an application imports uWSGI's modules: a look at its Python files, within bounds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

#: Bounds of the search; an application is looked at from its own directory.
MOST_DIRECTORIES = 500
MOST_FILES = 2000
MOST_BYTES = 1 << 20
MOST_DEPTH = 5

IMPORT = re.compile(rb"^[ \t]*(?:import|from)[ \t]+(uwsgi|uwsgidecorators)\b", re.MULTILINE)

#: Directories with the code of others.
SKIPPED = {"node_modules", "site-packages", "__pycache__"}


def first_import(directory: str) -> tuple[str, int, str] | None:
    """File, line and module of the first import, in the order of the names."""
    for path in python_files(directory):
        try:
            with open(path, "rb") as file:
                content = file.read(MOST_BYTES)
        except OSError:
            continue
        match = IMPORT.search(content)
        if match:
            line = content.count(b"\n", 0, match.start(1)) + 1
            return os.path.relpath(path, directory), line, match[1].decode()
    return None


def python_files(directory: str) -> Iterator[str]:
    found = 0
    for visited, (folder, folders, files) in enumerate(os.walk(directory)):
        if visited >= MOST_DIRECTORIES:
            return
        depth = len(os.path.relpath(folder, directory).split(os.sep))
        folders[:] = sorted(
            name
            for name in folders
            if depth <= MOST_DEPTH
            and name not in SKIPPED
            and not name.startswith(".")
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name.endswith(".py") and os.path.isfile(path):
                found += 1
                if found > MOST_FILES:
                    return
                yield path
