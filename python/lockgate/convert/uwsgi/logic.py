"""Conditions and loops of uWSGI's configurations, decided on the machine that reads them."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lockgate.convert.source import (
    MOST_OPTIONS,
    ConversionError,
    Machine,
    Place,
    read_text,
    replace_within,
)

#: Plugins that a build of uWSGI for Python has.
PLUGINS = ("python", "python3", "http", "corerouter", "gevent", "router_static", "router_rewrite")

ALIASES = {
    "ifenv": "if-env",
    "ifexists": "if-exists",
    "ifplugin": "if-plugin",
    "ifdir": "if-dir",
    "if-directory": "if-dir",
}

CONDITIONS = (
    "opt",
    "env",
    "exists",
    "file",
    "dir",
    "plugin",
    "hostname",
    "hostname-match",
    "reload",
)
LOOPS = ("for", "for-glob", "for-times", "for-readline")
LOGIC = {
    *LOOPS,
    *(f"if-{name}" for name in CONDITIONS),
    *(f"if-not-{name}" for name in CONDITIONS),
    *ALIASES,
}


@dataclass(frozen=True)
class Logic:
    """An open condition or loop."""

    place: Place
    name: str
    argument: str
    #: What `%(_)` is in each repetition; None: it stays as it is. Empty: nothing is read.
    rounds: Sequence[str | None]

    @classmethod
    def open(
        cls,
        place: Place,
        key: str,
        value: str | None,
        machine: Machine,
        exported: Callable[[str], str | None],
    ) -> Logic:
        name = ALIASES.get(key, key)
        argument = value or ""
        if name in LOOPS:
            return cls(place, key, argument, repetitions(place, name, argument, machine))
        negated = name.startswith("if-not-")
        kind = name.removeprefix("if-not-" if negated else "if-")
        holds, content = condition(place, kind, argument, machine, exported)
        return cls(place, key, argument, [content] if holds != negated else [])

    def apply(self, value: str | None) -> Iterator[str | None]:
        """The values that a key inside has, one for each repetition."""
        for content in self.rounds:
            if value is None or content is None:
                yield value
            else:
                yield replace_within(value, "%(_)", content, str(self.place))

    def reason(self) -> str:
        kind = "has nothing to repeat" if self.name in LOOPS else "is false here"
        return f"{self.name} {self.argument} ({self.place}) {kind}"

    def outcome(self) -> str:
        if self.name in LOOPS:
            times = len(self.rounds)
            return f"unrolled: the keys inside are read {times} time{'s' * (times != 1)}"
        return f"decided now: it is {'true' if self.rounds else 'false'} on this machine"


def repetitions(place: Place, name: str, argument: str, machine: Machine) -> list[str | None]:
    if name == "for":
        return [part for part in argument.split(" ") if part]
    if name == "for-glob":
        matches = glob.iglob(os.path.join(machine.directory, argument))
        found = sorted(itertools.islice(matches, MOST_OPTIONS + 1))
        # A pattern without a match stays as it is, and relative paths stay relative.
        names = [
            path if os.path.isabs(argument) else os.path.relpath(path, machine.directory)
            for path in found
        ]
        return [*(names or [argument])]
    if name == "for-readline":
        text = read_text(argument, machine.directory)
        return [*text.removesuffix("\n").split("\n")] if text else []
    match = re.match(r"\s*[+-]?\d+", argument)
    times = int(match[0]) if match and len(match[0]) < 20 else 0
    if times > MOST_OPTIONS:
        raise ConversionError(f"{place}: for-times = {argument}: at most {MOST_OPTIONS}")
    return [str(number) for number in range(1, times + 1)]


def condition(
    place: Place,
    kind: str,
    argument: str,
    machine: Machine,
    exported: Callable[[str], str | None],
) -> tuple[bool, str | None]:
    """Whether the condition holds, and what `%(_)` is inside."""
    if kind in ("opt", "env"):
        name, equal, wanted = argument.partition("=")
        content = exported(name) if kind == "opt" else machine.environment.get(name)
        return content is not None and (not equal or wanted == content), content
    path = os.path.join(machine.directory, argument)
    if kind == "exists":
        return os.path.lexists(path), argument
    if kind == "file":
        return os.path.isfile(path), argument
    if kind == "dir":
        return os.path.isdir(path), argument
    if kind == "plugin":
        return argument in PLUGINS, argument
    if kind == "hostname":
        return argument == machine.host_name, argument
    if kind == "hostname-match":
        try:
            return re.search(argument[:200], machine.host_name) is not None, argument
        except re.error as problem:
            raise ConversionError(f"{place}: {argument}: {problem}") from None
    # A conversion is like the first start, and not like a reload.
    return False, None
