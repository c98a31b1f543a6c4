"""Output that a page shows, compared with that of the command.

`…` stands for anything; a line that is only `…` stands for any lines. What differs from run to run
needs no `…`: dates and times, process ids, durations and sizes with a fraction, and the version.
"""

from __future__ import annotations

import re

ANY = "…"
VARYING = [
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?: ?[+-]\d\d:?\d\d|Z)?",
    r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
    r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT",
    r"(?<=\[)\d+(?=\])",
    r"(?<=\bpid )\d+",
    r"\d+\.\d+(?= (?:s|ms|µs|KiB|MiB|GiB|%)\b)",
    r"(?<=[Ll]ockgate[ /])\d+\.\d+\.\d+",
]
VARIES = re.compile("|".join(f"({pattern})" for pattern in VARYING))


def difference(expected: list[str], output: str) -> str | None:
    """What is wrong with the output of a command; `None` if it is what the page shows."""
    lines = [line.rstrip() for line in output.splitlines()]
    shown = [line.rstrip() for line in expected]
    while shown and not shown[-1]:
        shown.pop()
    while lines and not lines[-1]:
        lines.pop()
    if not shown or _matches(shown, lines):
        return None
    return "the page shows\n{}\nand the output is\n{}".format("\n".join(shown), "\n".join(lines))


def missing(expected: list[str], output: str) -> str | None:
    """The first line that is not in the output, in this order; `None` if all are."""
    rest = [line.rstrip() for line in output.splitlines()]
    for line in expected:
        line = line.strip()
        if not line or line == ANY:
            continue
        pattern = _pattern(line)
        for place, candidate in enumerate(rest):
            if pattern.fullmatch(candidate.strip()):
                rest = rest[place + 1 :]
                break
        else:
            return line
    return None


def _matches(shown: list[str], lines: list[str]) -> bool:
    """Whether the lines are those, with `…` for any lines; as file names match a glob."""
    here, there = 0, 0
    star, restart = -1, 0
    while there < len(lines):
        if here < len(shown) and shown[here].strip() == ANY:
            star, restart = here, there
            here += 1
        elif here < len(shown) and _pattern(shown[here]).fullmatch(lines[there]):
            here, there = here + 1, there + 1
        elif star >= 0:
            restart += 1
            here, there = star + 1, restart
        else:
            return False
    return all(line.strip() == ANY for line in shown[here:])


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(_varying(part) for part in line.split(ANY)))


def _varying(text: str) -> str:
    parts = []
    end = 0
    for found in VARIES.finditer(text):
        parts += [re.escape(text[end : found.start()]), VARYING[found.lastindex - 1]]
        end = found.end()
    return "".join([*parts, re.escape(text[end:])])
