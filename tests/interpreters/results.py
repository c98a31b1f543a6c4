"""What a run of the tests has found, as pytest's JUnit file says."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Results:
    passed: int
    #: The names of the tests.
    failed: tuple[str, ...]
    #: How many tests were skipped, by the reason.
    skipped: Counter[str]

    def row(self, interpreter: str, system: str, what: str, date: str) -> str:
        """A row of docs/platforms.md."""
        total = self.passed + len(self.failed) + self.skipped.total()
        counts = f"{total:,} tests: {self.passed:,} passed, {self.skipped.total()} were skipped"
        counts = f"{counts}, {len(self.failed)} failed"
        return f"| {interpreter} | {system} | {what} | {counts} | {date} |"

    def text(self) -> str:
        lines = [f"failed: {name}" for name in self.failed]
        lines += [f"skipped: {count} × {why}" for why, count in self.skipped.most_common()]
        return "\n".join(lines)


def read(file: Path) -> Results:
    passed = 0
    failed: list[str] = []
    skipped: Counter[str] = Counter()
    for case in ElementTree.parse(file).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        reason = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif reason is not None:
            skipped[reason.get("message") or ""] += 1
        else:
            passed += 1
    # A test that fails at its end is in the file twice.
    return Results(passed, tuple(dict.fromkeys(failed)), skipped)
