"""`lockgate init`: the command line, and the file."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lockgate.arguments import Parser
from lockgate.dev.discovery import Found, NothingFound, discover, of_name
from lockgate.init import settings_file

FILE = "lockgate.toml"

#: Configurations of other servers. Without lockgate.toml the server reads the first one.
OTHERS = ("gunicorn.conf.py", "uwsgi.ini")

DESCRIPTION = """\
Writes a first lockgate.toml for the project in DIR: its application, and the settings that most
projects change, with comments. It looks for the application as lockgate dev does (manage.py,
FLASK_APP, wsgi.py, app.py, packages), and imports nothing. A file that exists is left as it is,
unless --force is given."""

CANNOT_WRITE = 1
NOTHING_FOUND = 4


class Refused(Exception):
    """Why the file is not written, and what to do."""


def main(arguments: Sequence[str]) -> int:
    commands = parser()
    options = commands.parse_args(arguments)
    directory = Path(options.directory)
    if not directory.is_dir():
        commands.error(f"{directory}: is not a directory")
    try:
        found = find(directory, options.app)
        toml = settings_file.text(found, project_name(directory))
        if options.output == "-":
            sys.stdout.write(toml)
            return 0
        target = directory / (options.output or FILE)
        refuse_others(directory, target, options.force)
        write(target, toml, options.force)
    except NothingFound as problem:
        print(f"lockgate: {without_hints(str(problem))}", file=sys.stderr)
        print("  hint: name it, as in lockgate init --app module:attribute", file=sys.stderr)
        return NOTHING_FOUND
    except Refused as problem:
        print(f"lockgate: init: {problem}", file=sys.stderr)
        return CANNOT_WRITE
    print("\n".join(report(target, found)))
    return 0


def parser() -> Parser:
    parser = Parser(
        "lockgate init",
        DESCRIPTION,
        examples={
            "lockgate init": "lockgate.toml for the project in this directory",
            "lockgate init --app 'shop:create_app()'": "for an application that it does not find",
            "lockgate init -o -": "prints the file",
        },
        exit_codes={
            0: "written",
            1: "a file is in the way, or it cannot be written",
            2: "wrong use of this command",
            4: "no application was found",
        },
    )
    parser.add_argument(
        "directory", nargs="?", metavar="DIR", default=".", help="where the project is"
    )
    parser.add_argument(
        "--app", metavar="APP", help="the application, instead of the one that is found"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write this file instead of lockgate.toml; - prints it",
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    return parser


def find(directory: Path, named: str | None) -> Found:
    return of_name(named, directory, os.environ) if named else discover(directory, os.environ)


def project_name(directory: Path) -> str:
    """The name of the directory, as a path of /run and a host name may have it."""
    name = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-")
    return name or "app"


def refuse_others(directory: Path, target: Path, force: bool) -> None:
    for other in OTHERS:
        if target.name == FILE and (directory / other).is_file() and not force:
            raise Refused(
                f"{other} is here, and its settings would be lost: lockgate convert {other} "
                f"-o {FILE} takes them over; --force writes a new file nevertheless"
            )


def write(target: Path, toml: str, force: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with open(os.open(target, flags, 0o666), "w", encoding="utf-8") as file:
            file.write(toml)
    except FileExistsError:
        raise Refused(f"{target}: exists; --force replaces it, -o - prints the new one") from None
    except OSError as problem:
        raise Refused(f"{target}: cannot be written: {problem.strerror}") from None


def without_hints(text: str) -> str:
    """Hints of discovery are about `lockgate dev`."""
    lines = (line for line in text.splitlines() if not line.startswith("  hint:"))
    return "\n".join(lines).replace("lockgate dev ", "lockgate init --app ")


def report(target: Path, found: Found) -> list[str]:
    kind = settings_file.FRAMEWORKS[found.kind]
    flag = "" if target.name == FILE else f" -c {target.name}"
    place = "" if target.parent == Path(".") else f"cd {shlex.quote(str(target.parent))} && "
    commands = {
        f"{place}lockgate{flag} --check-config": "checks it, and imports the application",
        f"{place}lockgate{flag}": "serves on http://127.0.0.1:8000",
        f"{place}lockgate dev": "serves while you write",
    }
    longest = max(map(len, commands))
    return [
        f"{target}: serves {found.app} ({kind}; {found.reason})",
        "next:",
        *(f"  {command:<{longest}}  {effect}" for command, effect in commands.items()),
    ]
