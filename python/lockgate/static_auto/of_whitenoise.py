"""WhiteNoise around a WSGI application: its directories.

Without `autorefresh` it forgets the directories and keeps the files. Those directories are taken
of which it serves every file, at the same place, so nothing is served that it would not serve.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from lockgate.static_auto.mount import Found, Mount, immutable_patterns, mount_path

NAME = "WhiteNoise"
#: What WhiteNoise adds by default.
ALL_ORIGINS = {"Access-Control-Allow-Origin": "*"}
COMPRESSED = (".gz", ".br", ".zst")
#: Files of more directories than this are left to WhiteNoise.
MOST_DIRECTORIES = 50


def find(layer: Any, prefix: str, found: Found) -> None:
    base = sys.modules.get("whitenoise.base")
    if base is None or not isinstance(layer, base.WhiteNoise):
        return
    if layer.add_headers_function is not None:
        found.notes.append(
            "the files of WhiteNoise are left to it, because its add_headers_function adds headers"
        )
        return
    files = dict(known_files(layer))
    places = list(layer.directories) if layer.autorefresh else list(directories(files))
    left = [url for url in files if not any(url.startswith(path) for _, path in places)]
    if left:
        found.notes.append(
            f"{len(left)} files of WhiteNoise are left to it, because their directories "
            "have other files too"
        )
    patterns = immutable_patterns(
        [url for url, path in files.items() if layer.immutable_file_test(path, url)]
    )
    if patterns is None:
        found.notes.append("the immutable files of WhiteNoise have no form in common, so none is")
    for root, path in places:
        found.mounts.append(
            Mount(
                mount_path(prefix, path),
                [os.path.normpath(root)],
                "WhiteNoise's files",
                layer.index_file,
                list(patterns or []),
                layer.max_age,
                dict(ALL_ORIGINS) if layer.allow_all_origins else {},
            )
        )


def known_files(whitenoise: Any) -> Iterator[tuple[str, str]]:
    """The URL and the path of each file, without redirects."""
    index = whitenoise.index_file or ""
    for url, file in whitenoise.files.items():
        alternatives = getattr(file, "alternatives", None)
        if alternatives:
            # The shortest is not compressed.
            path = min((path for _, path, _ in alternatives), key=len)
            yield url + index if url.endswith("/") else url, path


def directories(files: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Directories, each with its URL, below which there are exactly these files."""
    left = dict(files)
    for _ in range(MOST_DIRECTORIES):
        if not left:
            return
        url = min(left, key=len)
        place = next(
            (place for place in candidates(url, left[url]) if has_these_alone(*place, files)), None
        )
        if place is None:
            del left[url]
            continue
        yield place
        left = {url: path for url, path in left.items() if not url.startswith(place[1])}


def candidates(url: str, path: str) -> Iterator[tuple[str, str]]:
    """Directories with URLs, the largest first, in which this path has this URL."""
    names, parts = url.split("/"), path.split("/")
    common = 0
    while common < min(len(names), len(parts)) and names[-1 - common] == parts[-1 - common]:
        common += 1
    for length in range(common, 0, -1):
        root, place = "/".join(parts[:-length]), "/".join(names[:-length])
        if root:
            yield f"{root}/", f"{place}/"


def has_these_alone(root: str, place: str, files: dict[str, str]) -> bool:
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            if name.endswith(COMPRESSED) and os.path.exists(os.path.splitext(path)[0]):
                continue
            if files.get(place + path[len(root) :]) != path:
                return False
    return True
