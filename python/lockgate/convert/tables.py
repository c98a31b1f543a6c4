"""Options that a table maps: those of gunicorn, granian and waitress (`*.json`).

A row says of an option which setting it becomes and how its value is read, or why there is none.
Rows marked `code` are decided by a function; what a function leaves is an error of this program.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option
from lockgate.convert.report import Outcome
from lockgate.convert.settings import Value
from lockgate.convert.source import ConversionError, Place
from lockgate.convert.values import is_on

#: A value of TOML, or None: the text is none.
Reading = Callable[[str], "Value | None"]


def number(text: str) -> Value | None:
    return int(text) if re.fullmatch(r"\s*\d{1,12}\s*", text) else None


def duration(text: str) -> Value | None:
    """granian's durations: seconds, or `1d 2h 30m 10s`."""
    if re.fullmatch(r"\s*\d{1,9}\s*", text):
        return int(text)
    match = re.fullmatch(
        r"\s*(?:(\d{1,3})d)?\s*(?:(\d{1,4})h)?\s*(?:(\d{1,5})m)?\s*(?:(\d{1,7})s)?\s*", text.lower()
    )
    if match is None or not text.strip():
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


READINGS: dict[str, Reading] = {
    "text": str,
    "word": lambda text: text or "auto",
    "lower": str.lower,
    "number": number,
    "duration": duration,
    "flag": is_on,
}


@dataclass(frozen=True)
class Table:
    """All options of a server."""

    rows: dict[str, dict[str, Any]]
    #: They have no value on the command line.
    flags: frozenset[str]
    data: dict[str, Any]

    def nearest(self, name: str) -> str | None:
        close = difflib.get_close_matches(name[:100], self.rows, 1, 0.75)
        return close[0] if close else None


@cache
def table(name: str) -> Table:
    text = resources.files(__package__).joinpath(f"{name}.json").read_text("utf-8")
    data = json.loads(text)
    return Table(data["options"], frozenset(data["flags"]), data)


def apply(conversion: Conversion, known: Table) -> None:
    """Decides the options that are left, by their rows."""
    for option in conversion.pending:
        row = known.rows.get(option.key)
        if row is None:
            nearest = known.nearest(option.key)
            meant = f"did you mean {nearest}?" if nearest else "there is no such option"
            conversion.unknown(option, meant)
        elif "not needed" in row:
            conversion.not_needed(option, row["not needed"])
        elif "not supported" in row:
            if option.key in known.flags and not is_on(option.value):
                conversion.not_needed(option, "it is switched off")
            else:
                conversion.not_supported(option, row["not supported"])
        else:
            assign(conversion, option, row)
    conversion.pending = []


def assign(conversion: Conversion, option: Option, row: dict[str, Any]) -> None:
    """Decides an option that becomes a setting."""
    name = row.get("to") or row["changed"]
    detail = row.get("text", "")
    outcome = Outcome.CHANGED if "changed" in row else Outcome.MAPPED
    if row["as"] == "item":
        conversion.add(option, name, option.text, detail, outcome)
        return
    if row["as"] == "list":
        items = [item.strip() for item in option.text.split(",") if item.strip()]
        if not items:
            conversion.not_needed(option, "it is empty")
            return
        for item in items[:-1]:
            conversion.settings.add(name, item)
        conversion.add(option, name, items[-1], detail, outcome)
        return
    value = READINGS[row["as"]]("true" if option.value is None else option.value)
    if value is None:
        conversion.not_supported(option, f"it is no {row['as']}: set {name}")
        return
    most = row.get("most")
    if most is not None and isinstance(value, int) and value > most:
        value, outcome, detail = most, Outcome.CHANGED, f"{most} is the most"
    conversion.put(option, outcome, name, value, detail)


def read_flags(
    arguments: Sequence[str], flags: frozenset[str], rename: Callable[[str], str | None]
) -> tuple[list[Option], list[str]]:
    """A command line with `--name value`, `--name=value`, `--no-name` and short letters."""
    options: list[Option] = []
    others: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            others += rest
            break
        if not argument.startswith("-") or argument == "-":
            others.append(argument)
            continue
        written, equal, value = argument.partition("=")
        if not argument.startswith("--"):
            written, value = argument[:2], argument[2:].removeprefix("=")
            equal = value
        flag = written if not written.startswith("--") else written[2:]
        name = rename(flag)
        if name is None and flag.startswith("no-") and rename(flag[3:]) is not None:
            options.append(Option(Place("the command line"), rename(flag[3:]) or "", "false"))
            continue
        if name is None:
            raise ConversionError(f"{written}: there is no such option")
        if flag in flags:
            options.append(Option(Place("the command line"), name, value if equal else None))
        elif equal:
            options.append(Option(Place("the command line"), name, value))
        elif rest:
            options.append(Option(Place("the command line"), name, rest.pop(0)))
        else:
            raise ConversionError(f"{written}: needs a value")
    return options, others
