"""Commands of shell blocks: where each ends, and which of them serve until they are stopped."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass, field

ASSIGNMENT = re.compile(r"^\w+=")
# `lockgate COMMAND` that ends by itself; `lockgate dev` serves.
COMMANDS = {
    "check",
    "completions",
    "convert",
    "ctl",
    "doctor",
    "hash-password",
    "help",
    "init",
    "man",
    "precompress",
    "top",
}
FLAGS_THAT_END = {
    "--check-config",
    "--help",
    "--help-all",
    "--print-config",
    "--version",
    "-V",
    "-h",
    "-v",
}
SERVERS = {
    "granian",
    "gunicorn",
    "mod_wsgi-express",
    "pserve",
    "redis-server",
    "uwsgi",
    "waitress-serve",
}
WRAPPERS = {
    "ddtrace-run",
    "env",
    "exec",
    "newrelic-admin",
    "nohup",
    "opentelemetry-instrument",
    "setsid",
    "sudo",
}


@dataclass
class Command:
    """A command of a block, and the output that the page shows for it."""

    text: str
    expected: list[str] = field(default_factory=list)


def commands(text: str) -> list[Command]:
    """The commands of an `sh` block."""
    found: list[Command] = []
    pending = ""
    for line in text.splitlines():
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        pending += line + "\n"
        if is_complete(pending):
            found.append(Command(pending.rstrip("\n")))
            pending = ""
    if pending:
        raise ValueError(f"the command has no end: {pending!r}")
    return found


def dialogue(text: str) -> list[Command]:
    """The commands of a `console` block, behind `$ ` (or `# `, for root), with their output."""
    found: list[Command] = []
    pending = ""
    for line in text.splitlines():
        if pending:
            pending += line.removeprefix("> ") + "\n"
        elif line.startswith(("$ ", "# ")):
            pending = line[2:] + "\n"
        elif found:
            found[-1].expected.append(line)
        else:
            raise ValueError(f"the block begins with output: {line!r}")
        if pending and is_complete(pending):
            found.append(Command(pending.rstrip("\n")))
            pending = ""
    if pending:
        raise ValueError(f"the command has no end: {pending!r}")
    return found


def is_complete(text: str) -> bool:
    """Whether bash would run the lines now, and not ask for more."""
    if text.rstrip("\n").endswith("\\"):
        return False
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    complaints = checked.stderr
    return (
        "unexpected end of file" not in complaints
        and "unexpected EOF" not in complaints
        and ("delimited by end-of-file" not in complaints)
    )


def serves(text: str) -> bool:
    """Whether the command runs until it is stopped."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return False
    if {"|", "||", "&&", ";", "<<"} & set(words):
        return False
    words = [word for word in words if word != "&"]
    while words and (ASSIGNMENT.match(words[0]) or words[0] in WRAPPERS):
        words = words[1:] if words[0] != "newrelic-admin" else words[2:]
    if not words:
        return False
    program, arguments = words[0].rpartition("/")[2], words[1:]
    if program.startswith("python") and arguments[:1] == ["-m"] and len(arguments) > 1:
        program, arguments = arguments[1], arguments[2:]
        if program in ("django", "http.server"):
            return "runserver" in arguments or program == "http.server"
    if program == "lockgate":
        return _lockgate_serves(arguments)
    if program == "flask":
        return "run" in arguments
    if program in ("django-admin", "manage.py") or program.startswith("python"):
        return "runserver" in arguments
    return program in SERVERS and not FLAGS_THAT_END & set(arguments)


def _lockgate_serves(arguments: list[str]) -> bool:
    if FLAGS_THAT_END & set(arguments):
        return False
    return not arguments or arguments[0] not in COMMANDS
