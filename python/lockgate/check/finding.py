"""Rules, and what breaks them.

A rule has a level: an `error` fails on some server or at some request; a `warning` works here, and
hurts on another server or in production.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lockgate import printable

ERROR = "error"
WARNING = "warning"


class Paragraph(NamedTuple):
    """A place in a standard or in the documentation."""

    title: str
    link: str


@dataclass(frozen=True)
class Rule:
    """One rule. `id` is what reports, `--ignore` and docs/checking.md name it by."""

    id: str
    level: str
    paragraph: Paragraph
    #: What an application does: one sentence.
    wanted: str


class Place(NamedTuple):
    """A line of a source file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Breach(NamedTuple):
    """A rule that is broken, and a text that says by which value. The place is not known yet."""

    rule: Rule
    text: str


@dataclass(frozen=True)
class Finding:
    """A broken rule at a place of the source, if that is known."""

    rule: Rule
    text: str
    place: Place | None = None
    #: Such as `GET /orders`; None outside of requests.
    request: str | None = None

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        during = f" ({printable.line(self.request)})" if self.request else ""
        return (
            f"{where}{self.rule.level}: {printable.line(self.text)}{during} "
            f"[{self.rule.id}; {self.rule.paragraph.title}]"
        )


Report = Callable[[Finding], None]


class Once:
    """A report that passes each rule on once for a place, or for a text without a place."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._seen: set[tuple[str, object]] = set()

    def __call__(self, finding: Finding) -> None:
        key = (finding.rule.id, finding.place or finding.text)
        if key not in self._seen:
            self._seen.add(key)
            self._report(finding)


Breaches = Iterator[Breach]
