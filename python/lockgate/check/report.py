"""The report of `lockgate check`: lines for people, or JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lockgate.check.finding import ERROR, Finding

COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m"}
RESET = "\x1b[0m"


@dataclass
class Result:
    """What a run has found."""

    application: str
    findings: list[Finding] = field(default_factory=list)
    requests: int = 0
    paths: int = 0
    #: Why there is no application, and the exit code of the server for that.
    problem: str | None = None
    problem_code: int = 0
    #: What was not asked for because of findings.
    skipped: list[str] = field(default_factory=list)

    def count(self, level: str) -> int:
        return sum(finding.rule.level == level for finding in self.findings)

    def exit_code(self, strict: bool) -> int:
        if self.problem_code:
            return self.problem_code
        return int(bool(self.findings) if strict else self.count(ERROR) > 0)

    def sorted(self) -> list[Finding]:
        """Errors first, each level in the order of files and lines."""

        def key(finding: Finding) -> tuple[bool, bool, str, int]:
            file, line = finding.place or ("", 0)
            return (finding.rule.level != ERROR, not file, file, line)

        return sorted(self.findings, key=key)


def text(result: Result, directory: str, has_colours: bool) -> str:
    lines = []
    if result.problem is not None:
        lines.append(result.problem)
    for finding in result.sorted():
        lines += block(finding, directory, has_colours)
    if result.skipped:
        lines.append(f"not asked: {', '.join(map(printable, result.skipped))}")
    lines.append(summary(result))
    return "\n".join(lines)


def block(finding: Finding, directory: str, has_colours: bool) -> list[str]:
    level = finding.rule.level
    if has_colours:
        level = f"{COLOURS[level]}{level}{RESET}"
    where = (
        f"{relative(finding.place.file, directory)}:{finding.place.line}: "
        if (finding.place)
        else ""
    )
    during = f" ({finding.request})" if finding.request else ""
    return [
        f"{where}{level}: {printable(finding.text)}{printable(during)}",
        f"    {finding.rule.id}: {finding.rule.wanted} ({finding.rule.paragraph.title})",
    ]


def summary(result: Result) -> str:
    errors, warnings = result.count("error"), result.count("warning")
    found = f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
    if result.problem_code:
        return f"{result.application}: not loaded; {found}"
    asked = f"{counted(result.requests, 'request')} to {counted(result.paths, 'path')}"
    return f"{result.application}: {found}; {asked}"


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def as_json(result: Result, strict: bool) -> str:
    whole = {
        "application": result.application,
        "exit_code": result.exit_code(strict),
        "errors": result.count("error"),
        "warnings": result.count("warning"),
        "requests": result.requests,
        "paths": result.paths,
        "problem": result.problem,
        "skipped": result.skipped,
        "findings": [fields(finding) for finding in result.sorted()],
    }
    return json.dumps(whole, indent=2)


def fields(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule.id,
        "level": finding.rule.level,
        "text": finding.text,
        "file": finding.place.file if finding.place else None,
        "line": finding.place.line if finding.place else None,
        "request": finding.request,
        "wanted": finding.rule.wanted,
        "paragraph": finding.rule.paragraph.title,
        "link": finding.rule.paragraph.link,
    }


def relative(file: str, directory: str) -> str:
    """The path from the directory in which the command was started, if it is below that."""
    path = os.path.realpath(file)
    base = os.path.realpath(directory) + os.sep
    return path[len(base) :] if path.startswith(base) else path


def printable(text: str) -> str:
    """One line, without control characters."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def wants_colours(environment: dict[str, str] | os._Environ[str], is_terminal: bool) -> bool:
    """NO_COLOR and FORCE_COLOR count if they are not empty."""
    if environment.get("NO_COLOR"):
        return False
    return bool(environment.get("FORCE_COLOR")) or (
        is_terminal and environment.get("TERM") != "dumb"
    )


def rules_table(rules: Sequence[Any]) -> str:
    """One line for each rule, for `--rules`."""
    return "\n".join(
        f"{rule.id:<28} {rule.level:<8} {rule.wanted} ({rule.paragraph.title})" for rule in rules
    )


def write(line: str, stream: Any = None) -> None:
    print(line, file=stream or sys.stdout, flush=True)
