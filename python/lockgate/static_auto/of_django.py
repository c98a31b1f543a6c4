"""Django: STATIC_ROOT at STATIC_URL, or in development what its finders find.

WhiteNoise's middleware has settings of its own there.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any
from urllib.parse import unquote, urlsplit

from lockgate.static_auto.mount import Found, Mount, immutable_patterns, mount_path
from lockgate.static_auto.of_whitenoise import ALL_ORIGINS

NAME = "Django"
WHITENOISE = "WhiteNoiseMiddleware"


def find(layer: Any, prefix: str, found: Found) -> None:
    wsgi = sys.modules.get("django.core.handlers.wsgi")
    if wsgi is None or not isinstance(layer, wsgi.WSGIHandler):
        return
    settings = importlib.import_module("django.conf").settings
    whitenoise = Whitenoise(settings)
    if whitenoise.adds_headers:
        found.notes.append(
            "the static files of Django are left to WhiteNoise, because "
            "WHITENOISE_ADD_HEADERS_FUNCTION adds headers"
        )
        return
    path = static_path(settings, whitenoise, prefix)
    if path is not None:
        for mount in static_mounts(settings, whitenoise, path, found):
            mount.index, mount.max_age = whitenoise.index, whitenoise.max_age
            mount.headers = dict(whitenoise.headers)
            found.mounts.append(mount)
    if whitenoise.root:
        found.mounts.append(
            Mount(
                mount_path(prefix),
                [os.path.abspath(whitenoise.root)],
                "WHITENOISE_ROOT",
                whitenoise.index,
                max_age=whitenoise.max_age,
                headers=dict(whitenoise.headers),
            )
        )


class Whitenoise:
    """The settings of WhiteNoise's middleware, or nothing if it is not installed."""

    def __init__(self, settings: Any) -> None:
        names = [name.rpartition(".")[2] for name in settings.MIDDLEWARE]
        self.is_used = WHITENOISE in names

        def setting(name: str, default: Any) -> Any:
            return getattr(settings, f"WHITENOISE_{name}", default) if self.is_used else None

        self.adds_headers = setting("ADD_HEADERS_FUNCTION", None) is not None
        self.root: str | None = setting("ROOT", None)
        self.prefix: str | None = setting("STATIC_PREFIX", None)
        self.uses_finders = bool(setting("USE_FINDERS", settings.DEBUG))
        self.headers = ALL_ORIGINS if setting("ALLOW_ALL_ORIGINS", True) else {}
        self.max_age: int | None = setting("MAX_AGE", 0 if settings.DEBUG else 60)
        index = setting("INDEX_FILE", None)
        self.index: str | None = "index.html" if index is True else (index or None)


def static_path(settings: Any, whitenoise: Whitenoise, prefix: str) -> str | None:
    """The path in a URL that the site's pages have; None: there are no static files."""
    if whitenoise.prefix:
        return mount_path(prefix, unquote(whitenoise.prefix))
    # As it is written. Django's settings add the path of the site, which is known in a request
    # only, and keep what they have returned the first time.
    url = settings._wrapped.STATIC_URL
    if not url:
        return None
    path = unquote(urlsplit(url).path)
    if url.startswith(("/", "http://", "https://")):
        return mount_path(path)
    return mount_path(settings.FORCE_SCRIPT_NAME or prefix, path)


def static_mounts(settings: Any, whitenoise: Whitenoise, path: str, found: Found) -> list[Mount]:
    if "django.contrib.staticfiles" not in settings.INSTALLED_APPS:
        root = settings.STATIC_ROOT
        return [Mount(path, [os.path.abspath(root)], "Django's STATIC_ROOT")] if root else []
    # The class only: an object of it would read STATIC_URL.
    storage, options = storage_class(settings)
    files = importlib.import_module("django.core.files.storage")
    if not issubclass(storage, files.FileSystemStorage):
        found.notes.append(
            f"Django keeps its static files elsewhere ({storage.__name__}), so they are not served"
        )
        return []
    root = options.get("location") or settings.STATIC_ROOT
    mounts = []
    if root and os.path.isdir(root):
        mount = Mount(path, [os.path.abspath(root)], "Django's STATIC_ROOT")
        mount.immutable = hashed_names(storage, root, found)
        mounts.append(mount)
    if settings.DEBUG or whitenoise.uses_finders:
        # In development the collected files may be older.
        mounts = [*found_by_finders(path), *mounts]
    elif not mounts:
        what = f"STATIC_ROOT = {root} does not exist" if root else "STATIC_ROOT is not set"
        found.notes.append(f"Django's {what}: set it, run manage.py collectstatic, and reload")
    return mounts


def storage_class(settings: Any) -> tuple[type, dict[str, Any]]:
    storages = getattr(settings, "STORAGES", None)
    if storages is None:
        # Before Django 4.2.
        path, options = settings.STATICFILES_STORAGE, dict[str, Any]()
    else:
        path = storages["staticfiles"]["BACKEND"]
        options = storages["staticfiles"].get("OPTIONS") or {}
    if not isinstance(path, str):
        return path, options
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name), options


def hashed_names(storage: Any, root: str, found: Found) -> list[str]:
    """The patterns of the names in the manifest, if the storage writes one."""
    manifest = getattr(storage, "manifest_name", None)
    if manifest is None:
        return []
    try:
        with open(os.path.join(root, manifest), encoding="utf-8") as file:
            paths = json.load(file)["paths"]
    except FileNotFoundError:
        return []
    patterns = immutable_patterns([hashed for name, hashed in paths.items() if name != hashed])
    if patterns is None:
        found.notes.append(
            "the names in Django's manifest have no form in common, so none is immutable"
        )
    return patterns or []


def found_by_finders(path: str) -> list[Mount]:
    """The directories of the finders, in their order."""
    mounts = []
    finders = importlib.import_module("django.contrib.staticfiles.finders")
    for finder in finders.get_finders():
        for storage in getattr(finder, "storages", {}).values():
            location = getattr(storage, "location", None)
            if location:
                prefix = getattr(storage, "prefix", None) or ""
                mount = Mount(mount_path(path, prefix), [str(location)], "Django's finders")
                mounts.append(mount)
    return mounts
