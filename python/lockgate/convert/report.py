"""The report: one entry for each key of the source, with its outcome."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from lockgate.convert.source import Place


class Outcome(Enum):
    """What became of a key."""

    MAPPED = "mapped"
    NOT_NEEDED = "not needed"
    CHANGED = "changed in meaning"
    NOT_SUPPORTED = "not supported"
    UNKNOWN = "unknown"


#: In this order the report shows them: what the operator must read comes first.
ORDER = (
    Outcome.UNKNOWN,
    Outcome.NOT_SUPPORTED,
    Outcome.CHANGED,
    Outcome.MAPPED,
    Outcome.NOT_NEEDED,
)


@dataclass(frozen=True)
class Entry:
    """One key of the source."""

    place: Place
    key: str
    value: str | None
    outcome: Outcome
    #: The settings that it became.
    settings: tuple[str, ...]
    #: Why, what changes, or what to use instead.
    detail: str

    def source(self) -> str:
        """The key as the source has it, on one line."""
        if self.value is None or self.value == "":
            return printable(self.key)
        return f"{printable(self.key)} = {printable(self.value)}"


@dataclass
class Report:
    """The entries of a conversion, and notes about it as a whole."""

    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        counts = Counter(entry.outcome for entry in self.entries)
        lines = [
            f"{len(self.entries)} key{'s' * (len(self.entries) != 1)}: "
            + ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in reversed(ORDER))
        ]
        for outcome in ORDER:
            entries = [entry for entry in self.entries if entry.outcome is outcome]
            if not entries:
                continue
            lines += ["", f"{outcome.value}:"]
            for entry in entries:
                lines.append(f"  {entry.place}: {entry.source()}")
                arrow = "-> " + ", ".join(entry.settings) if entry.settings else ""
                for text in filter(None, (arrow, entry.detail)):
                    lines.append(f"      {text}")
        if self.notes:
            lines += ["", "notes:", *(f"  {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def json(self, toml: str) -> str:
        counts = Counter(entry.outcome for entry in self.entries)
        return (
            json.dumps(
                {
                    "counts": {outcome.value: counts[outcome] for outcome in ORDER},
                    "keys": [
                        {
                            "file": entry.place.file,
                            "line": entry.place.line,
                            "key": entry.key,
                            "value": entry.value,
                            "outcome": entry.outcome.value,
                            "settings": list(entry.settings),
                            "detail": entry.detail,
                        }
                        for entry in self.entries
                    ],
                    "notes": self.notes,
                    "toml": toml,
                },
                indent=2,
                ensure_ascii=False,
            )
            + "\n"
        )


def printable(text: str, most: int = 200) -> str:
    """The text on one line, shortened, without characters that change a terminal."""
    if len(text) > most:
        text = text[: most - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
