"""``static = "auto"``: the static files that the application has declared.

The application's objects and settings are read, and none of its functions is called but properties.
What is not understood is left to the application, which gets the request then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lockgate.static_auto import of_django, of_flask, of_whitenoise
from lockgate.static_auto.mount import Found, Mount

#: Attributes in which middleware keeps the application that it wraps; `__self__` is that of a
#: method such as `Flask.wsgi_app`.
WRAPPED = ("application", "app", "wsgi_app", "_app", "_application", "__wrapped__", "__self__")
#: More objects than any application wraps around another.
MOST_LAYERS = 200

Row = tuple[str, list[str], "str | None", list[str], "int | None", list[tuple[str, str]], str]


def find(application: Any, root_path: str) -> tuple[list[Row], list[str]]:
    """What the application serves itself, for the server; and sentences for the operator.

    A row has the path without a slash at its end, the directories, the index, the patterns of
    immutable names, the age in seconds, further fields, and where it was found.
    """
    found = Found()
    for prefix, layer in layers(application):
        for source in (of_whitenoise, of_flask, of_django):
            try:
                source.find(layer, root_path + prefix, found)
            except Exception as error:
                # Code of the application or of a version that is not known.
                what = f"{type(error).__name__}: {error}"
                found.notes.append(f"the static files of {source.NAME} cannot be examined: {what}")
    mounts = [mount for mount in merged(found.mounts) if mount.dirs]
    rows = [
        (
            one.path,
            one.dirs,
            one.index,
            one.immutable,
            one.max_age,
            list(one.headers.items()),
            one.origin,
        )
        for one in mounts
    ]
    return rows, list(dict.fromkeys(found.notes))


def layers(application: Any) -> Iterator[tuple[str, Any]]:
    """The application and what it wraps, outermost first, each with the path that it is at."""
    queue: list[tuple[str, Any]] = [("", application)]
    seen: set[int] = set()
    # Its items stay alive, so that no id is that of two.
    for prefix, layer in queue:
        if id(layer) in seen or len(seen) == MOST_LAYERS:
            continue
        seen.add(id(layer))
        yield prefix, layer
        mounts = attribute(layer, "mounts")
        if isinstance(mounts, Mapping):
            # werkzeug's DispatcherMiddleware.
            queue += [(prefix + path, inner) for path, inner in mounts.items()]
        inner_ones = [attribute(layer, name) for name in WRAPPED]
        queue += [(prefix, inner) for inner in inner_ones if callable(inner)]


def attribute(layer: Any, name: str) -> Any:
    try:
        return getattr(layer, name, None)
    except Exception:
        return None


def merged(mounts: Sequence[Mount]) -> list[Mount]:
    """Each path once: a file that the outer layer does not have is searched in the inner one."""
    by_path: dict[str, Mount] = {}
    for mount in mounts:
        mount.dirs = [path for path in mount.dirs if os.path.isdir(path)]
        first = by_path.setdefault(mount.path, mount)
        if first is not mount:
            first.dirs += [path for path in mount.dirs if path not in first.dirs]
            first.immutable += [name for name in mount.immutable if name not in first.immutable]
    return list(by_path.values())
