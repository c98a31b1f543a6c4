"""Flask: the static folders of the application and its blueprints."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import Any

from lockgate.static_auto.mount import Found, Mount, mount_path

NAME = "Flask"
#: The end of the rules of static folders.
PARAMETER = "/<path:filename>"


def find(layer: Any, prefix: str, found: Found) -> None:
    flask = sys.modules.get("flask")
    if flask is None or not isinstance(layer, flask.Flask):
        return
    seconds = age(layer.config.get("SEND_FILE_MAX_AGE_DEFAULT"))
    known: set[str] = set()
    for rule in layer.url_map.iter_rules():
        name, _, endpoint = f".{rule.endpoint}".rpartition(".")
        name = name.removeprefix(".")
        if endpoint != "static" or not rule.rule.endswith(PARAMETER):
            continue
        owner = layer.blueprints.get(name) if name else layer
        folder = getattr(owner, "static_folder", None)
        path = rule.rule.removesuffix(PARAMETER)
        # Of two rules with one path, Flask takes the first.
        if folder is None or path in known:
            continue
        known.add(path)
        what = f"the static folder of Flask's blueprint {name}" if name else "Flask's static folder"
        if "<" in path or rule.subdomain or rule.host:
            found.notes.append(f"{what} is left to the application: its path is {rule}")
            continue
        found.mounts.append(
            Mount(mount_path(prefix, path), [os.path.abspath(folder)], what, max_age=seconds),
        )


def age(value: Any) -> int | None:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return max(0, int(value)) if isinstance(value, (int, float)) else None
