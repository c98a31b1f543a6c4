"""Which files of a build context `.dockerignore` leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


class Ignored:
    """The last pattern that matches a path or a directory above it decides."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._patterns: list[tuple[re.Pattern[str], bool]] = []
        for line in lines:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            is_kept = text.startswith("!")
            text = text.lstrip("!").strip("/")
            self._patterns.append((re.compile(_expression(text)), not is_kept))

    @classmethod
    def of(cls, context: Path) -> Ignored:
        path = context / ".dockerignore"
        return cls(path.read_text("utf-8").splitlines() if path.exists() else ())

    def __contains__(self, path: str) -> bool:
        found = False
        for pattern, is_ignored in self._patterns:
            if pattern.fullmatch(path):
                found = is_ignored
        return found


def _expression(pattern: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    text = "".join(meaning.get(part, re.escape(part)) for part in parts)
    # What is below a directory that matches.
    return f"{text}(?:/.*)?"
