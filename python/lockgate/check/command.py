"""`lockgate check`: the command line."""

from __future__ import annotations

import argparse
import atexit
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn, TextIO

from lockgate.admin_command import duration
from lockgate.arguments import Parser, near
from lockgate.check import importing, places, report, supervising
from lockgate.check.report import Result
from lockgate.check.rules import all as rules
from lockgate.check.running import Options, run
from lockgate.check.settings import Refused, Settings, named, read
from lockgate.check.supervising import Sender, Step

DESCRIPTION = """\
Imports an application as a worker does, drives it with requests, and reports breaches of PEP 3333
and what hurts in production, each with its file, line and paragraph.

APP is what the server takes; without it, lockgate.toml names the application. Flags of the server
follow `--`. Run it with the variables of a test system: views are called."""

EXAMPLES = {
    "lockgate check app:app": "checks an application",
    "lockgate check mysite.wsgi --strict --no-host": "in CI: warnings fail, and no rule is about "
    "this machine",
    "lockgate check app:app --path /reports/ --ignore write": "asks also for a page that no "
    "framework knows, and leaves a rule out",
    "lockgate check app:app -- --workers 4 --threads 32": "for a server with these settings",
    "lockgate check --rules": "lists the rules",
}
EXIT_CODES = {
    0: "no error found (with --strict: no warning either)",
    1: "errors found",
    2: "an invalid flag, name or value",
    3: "the application cannot be imported",
    4: "there is no such application",
}

INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    own, of_server = split(arguments)
    command = parser()
    options = command.parse_args(own)
    if options.rules:
        print(report.rules_table(rules.RULES))
        return 0
    if (wrong := unknown_rule(options.ignore)) is not None:
        command.error(wrong)
    for path in options.path:
        if not path.startswith("/"):
            command.error(f"--path: must begin with /, such as /{path}, not {path}")
    for flag in ("config", "chdir"):
        if (value := getattr(options, flag)) is not None:
            of_server = [f"--{flag}", value, *of_server]
    if options.app is not None:
        of_server = [options.app, *of_server]
    try:
        settings = read(of_server)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return refused.exit_code
    if settings.get("mount") not in (None, []):
        text = "mounts are not checked: check each of their applications by itself"
        print(f"lockgate: check: {text}", file=sys.stderr)
    return checked(settings, options)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of this command, and those behind `--`, which are the server's."""
    if "--" not in arguments:
        return list(arguments), []
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def checked(settings: Settings, options: argparse.Namespace) -> int:
    directory = os.getcwd()
    if (module := named(settings["app"]).module) is not None:
        places.claim(module.partition(".")[0])
    how = Options(
        paths=tuple(options.path),
        ignored=frozenset(options.ignore),
        is_read_only=options.read_only,
        has_requests=not options.no_requests,
        has_host_rules=not options.no_host,
        host=options.host,
        wait=options.wait,
    )

    def work(sender: Sender) -> None:
        # What the application prints must not get into the report.
        os.dup2(2, 1)
        run(settings, how, sender)
        end()

    progress = Progress(sys.stderr, settings["app"])
    signal.signal(signal.SIGTERM, terminated)
    try:
        result = supervising.run(settings["app"], work, progress.show)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        progress.clear()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    show(result, options, directory, sys.stdout)
    return result.exit_code(options.strict)


def terminated(number: int, frame: object) -> NoReturn:
    """Ends the check with the status that a shell has for a signal."""
    raise SystemExit(128 + number)


def show(result: Result, options: argparse.Namespace, directory: str, out: TextIO) -> None:
    if options.json:
        report.write(report.as_json(result, options.strict), out)
        return
    has_colours = report.wants_colours(os.environ, out.isatty())
    report.write(report.text(result, directory, has_colours), out)


class Progress:
    """A line on a terminal, from the first second on."""

    def __init__(self, stream: TextIO, application: str) -> None:
        self._stream = stream
        self._application = application
        self._is_shown = stream.isatty()
        self._next = time.monotonic() + 1.0
        self._has_line = False

    def show(self, step: Step, requests: int) -> None:
        """Also called while nothing happens."""
        now = time.monotonic()
        if self._is_shown and now >= self._next:
            self._next, self._has_line = now + 0.1, True
            text = f"lockgate: check: importing {self._application} …"
            if step.request is not None:
                text = f"{requests} requests; {step.request}"
            self._stream.write(f"\r\x1b[K{report.printable(text)[:76]}")
            self._stream.flush()

    def clear(self) -> None:
        if self._has_line:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def end() -> None:
    """As at the end of a Python program, for a limited time; threads of the application might
    never end."""
    for pid in importing.children():
        # The import or a request has started it.
        os.kill(pid, signal.SIGTERM)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # Closed, missing, or a full disk: nothing of the report is in them.
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()


def unknown_rule(names: Sequence[str]) -> str | None:
    known = list(rules.by_id())
    for name in names:
        if name not in known:
            hint = near(name, known) or "; lockgate check --rules lists them"
            return f"--ignore: {name}: there is no such rule{hint}"
    return None


def parser() -> Parser:
    made = Parser("lockgate check", DESCRIPTION, examples=EXAMPLES, exit_codes=EXIT_CODES)
    made.add_argument("app", nargs="?", metavar="APP", help="such as module:attribute")
    made.add_argument("--json", action="store_true", help="print the report as JSON")
    made.add_argument("--strict", action="store_true", help="exit with 1 also for warnings")
    made.add_argument(
        "--path",
        action="append",
        default=[],
        metavar="/PATH",
        help="a path to request, besides / and those that the framework knows; repeatable",
    )
    made.add_argument(
        "--host",
        metavar="NAME",
        help="Host of the requests (default: localhost, or the first of Django's ALLOWED_HOSTS)",
    )
    made.add_argument("--read-only", action="store_true", help="send no request with POST or PURGE")
    made.add_argument(
        "--no-requests",
        action="store_true",
        help="import the application and look at its settings and this host; call no view",
    )
    made.add_argument("--no-host", action="store_true", help="leave out the rules about this host")
    made.add_argument(
        "--wait",
        type=duration,
        default=Options.wait,
        metavar="SECONDS",
        help="how long to wait for an answer",
    )
    made.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="RULE",
        help="leave a rule out; repeatable",
    )
    made.add_argument("--rules", action="store_true", help="list the rules and exit")
    made.add_argument("-c", "--config", metavar="PATH", help="the server's configuration")
    made.add_argument("--chdir", metavar="DIR", help="the server's working directory")
    return made
