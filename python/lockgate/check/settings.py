"""The settings of the server that would serve the application, as `--print-config` shows them."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lockgate._lockgate import run
from lockgate.arguments import USAGE_ERROR

#: One setting: its name, its value, and where that came from.
LINE = re.compile(r"(\w+) = (.*?)(?:  # (.*))?")
COUNT = re.compile(r"workers = (\d+) \(auto")

#: With `threads = "auto"` (docs/threads.md): all workers together, and at least each.
AUTO_THREADS = 64
FEWEST_THREADS = 4


class Refused(Exception):
    """The server refuses its settings; the text and the exit code are those of the server."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Settings:
    """Values by name. One that is neither a scalar nor a list, such as a table, is its text."""

    values: Mapping[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str) -> Any:
        return self.values.get(name)

    @property
    def workers(self) -> int:
        if isinstance(self.get("workers"), int):
            return int(self["workers"])
        counted = COUNT.search(self.origins.get("workers", ""))
        return int(counted[1]) if counted else 1

    @property
    def threads(self) -> int:
        """Of each worker."""
        if isinstance(self.get("threads"), int):
            return int(self["threads"])
        return max(FEWEST_THREADS, AUTO_THREADS // self.workers)

    @property
    def is_https(self) -> bool:
        """Whether clients connect with TLS."""
        binds = self.get("bind") or []
        is_bound = any(str(bind).startswith("https:") for bind in binds)
        return bool(self.get("certfile") or self.get("certificates") or self.get("domain")) or (
            is_bound
        )


def read(arguments: Sequence[str]) -> Settings:
    """The settings for these arguments of the server, its file and its variables.

    Raises Refused, with the server's own text, if it does not accept them.
    """
    code, shown, errors = printed(["lockgate", *arguments, "--print-config"])
    if code != 0:
        raise Refused(errors.rstrip(), code)
    settings = parsed(shown)
    if "app" not in settings.values:
        text = f"lockgate: check: {' '.join(arguments)}: only settings may follow --"
        raise Refused(text, USAGE_ERROR)
    return settings


def printed(command: Sequence[str]) -> tuple[int, str, str]:
    """Runs the command line in a child process, which has this module already: that is faster than
    another Python. Returns the exit code and both outputs."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(errors.fileno(), 2)
                code = run(command)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        texts = []
        for stream in (out, errors):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "backslashreplace"))
    return os.waitstatus_to_exitcode(status), texts[0], texts[1]


def parsed(text: str) -> Settings:
    values, origins = {}, {}
    for line in text.splitlines():
        found = LINE.fullmatch(line.rstrip())
        if found is None:
            continue
        name, value, origin = found.groups()
        try:
            # Strings, numbers, lists and switches of TOML are JSON in what the server prints.
            values[name], _ = json.JSONDecoder().raw_decode(value)
        except ValueError:
            values[name] = value.strip()
        origins[name] = origin or ""
    return Settings(values, origins)


@dataclass(frozen=True)
class Named:
    """The parts of the setting `app`."""

    module: str | None = None
    file: str | None = None
    attribute: str | None = None
    arguments: str | None = None
    paste: str | None = None
    paste_name: str | None = None


def named(app: str) -> Named:
    """The parts of `module:attribute`, `file.py:factory(…)`, `file.ini#name`. The server has
    validated it."""
    if app.endswith(".ini") or ".ini#" in app:
        file, _, name = app.removeprefix("config:").partition("#")
        return Named(paste=file, paste_name=name or None)
    where, _, rest = app.partition(":")
    attribute, bracket, arguments = rest.strip().partition("(")
    parts = {
        "attribute": attribute.strip() or None,
        "arguments": arguments.strip().removesuffix(")") if bracket else None,
    }
    if where.strip().endswith(".py"):
        return Named(file=where.strip(), **parts)
    return Named(module=where.strip(), **parts)
