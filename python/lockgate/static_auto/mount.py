"""What was found: directories at a path, and the names of files that never change."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

#: A name that has the hash of its content before its extension, as Django's and WhiteNoise's do.
HASHED = re.compile(r".+\.([0-9a-f]{8,64})(\.[^/]*)?", re.DOTALL)
#: More patterns than this are not compared with each name.
MOST_NAMES = 200


@dataclass
class Mount:
    #: Without a slash at the end; empty: the root.
    path: str
    dirs: list[str]
    #: For the log, such as `Flask's static folder`.
    origin: str
    #: The file of a directory; None: directories are left to the application.
    index: str | None = None
    #: Patterns of the names of files that never change.
    immutable: list[str] = field(default_factory=list)
    #: Seconds for which the others are fresh; None: clients ask each time.
    max_age: int | None = None
    #: Further fields of responses.
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Found:
    mounts: list[Mount] = field(default_factory=list)
    #: Sentences for the operator.
    notes: list[str] = field(default_factory=list)


def mount_path(*parts: str) -> str:
    """The parts as one path, with a slash at its start and none at its end."""
    stripped = [part.strip("/") for part in parts]
    return "".join(f"/{part}" for part in stripped if part)


def immutable_patterns(names: Collection[str]) -> list[str] | None:
    """Patterns that these names of files have, which contain hashes; None: there are too many."""
    patterns: set[str] = set()
    others: set[str] = set()
    for name in names:
        name = name.rpartition("/")[2]
        match = HASHED.fullmatch(name)
        if match is None:
            others.add(re.sub(r"([*?[])", r"[\1]", name))
            continue
        digits = "[0-9a-f]" * len(match[1])
        patterns.add(f"*.{digits}" + ("" if match[2] is None else ".*"))
    if len(patterns) + len(others) > MOST_NAMES:
        return None
    return sorted(patterns) + sorted(others)
