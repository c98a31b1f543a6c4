"""uWSGI's option names, with what becomes of those that no setting stands for (`options.json`)."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from lockgate.convert.report import Outcome


@dataclass(frozen=True)
class Advice:
    """What becomes of the options of a group."""

    outcome: Outcome
    text: str


@dataclass(frozen=True)
class Names:
    """All names of options."""

    #: A function of `mapping` decides about them.
    mapped: frozenset[str]
    #: The advice of the group decides.
    advice: dict[str, Advice]
    #: On the command line they have no value, or may have one.
    flags: frozenset[str]
    optional: frozenset[str]
    #: Their value is a number.
    numbers: frozenset[str]
    #: Letters of the command line.
    letters: dict[str, str]
    #: What is meant by names of other programs and by frequent mistakes.
    meant: dict[str, str]

    def __contains__(self, name: object) -> bool:
        return name in self.mapped or name in self.advice

    def nearest(self, name: str) -> str | None:
        """The name that was probably meant."""
        if name in self.meant:
            return self.meant[name]
        plain = name.lower().replace("_", "-")
        if plain in self:
            return plain
        close = difflib.get_close_matches(plain[:100], [*self.mapped, *self.advice], 1, 0.75)
        return close[0] if close else None


@cache
def names() -> Names:
    data = json.loads(resources.files(__package__).joinpath("options.json").read_text("utf-8"))
    advice = {
        name: Advice(Outcome(group["outcome"]), group["advice"])
        for group in data["groups"]
        for name in group["options"].split()
    }
    return Names(
        mapped=frozenset(data["mapped"].split()),
        advice=advice,
        flags=frozenset(data["flags"].split()),
        optional=frozenset(data["optional"].split()),
        numbers=frozenset(data["numbers"].split()),
        letters=data["letters"],
        meant=data["meant"],
    )
