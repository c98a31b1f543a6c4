"""`lockgate init`: the command line, and the file."""

from __future__ import annotations

import ast
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lockgate.arguments import Parser
from lockgate.dev.discovery import Found, NothingFound, discover, of_name
from lockgate.dev.source_names import parsed
from lockgate.init import settings_file

FILE = "lockgate.toml"

#: Configurations of other servers. Without lockgate.toml the server reads the first one.
OTHERS = ("gunicorn.conf.py", "uwsgi.ini")

#: Functions of a gunicorn.conf.py that gunicorn calls.
HOOKS = (
    "on_starting", "on_reload", "when_ready", "pre_fork", "post_fork", "post_worker_init",
    "worker_int", "worker_abort", "pre_exec", "pre_request", "post_request", "child_exit",
    "worker_exit", "nworkers_changed", "on_exit", "ssl_context",
)  # fmt: skip

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
        toml = settings_file.text(found, project_name(directory), has_static(directory))
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


def has_static(directory: Path) -> bool:
    """Whether the project has a directory `static`, at most two packages deep."""
    patterns = ("static", "*/static", "*/*/static", "src/*/*/static")
    return any(path.is_dir() for pattern in patterns for path in directory.glob(pattern))


def refuse_others(directory: Path, target: Path, force: bool) -> None:
    for other in OTHERS:
        if target.name == FILE and (directory / other).is_file() and not force:
            raise Refused(f"{other} is here, and {advice(directory / other)}")


def advice(other: Path) -> str:
    """What to do about the configuration of another server."""
    taken = (
        f"its settings would be lost: lockgate convert {other.name} -o {FILE} takes them over; "
        "--force writes a new file nevertheless"
    )
    hooks = hooks_in(other)
    if not hooks:
        return taken
    return (
        f"has hooks ({', '.join(hooks)}): lockgate -c {other.name} runs it as it is, with them; "
        f"lockgate convert {other.name} -o {FILE} takes over the settings, but no hooks; "
        "--force writes a new file nevertheless"
    )


def hooks_in(path: Path) -> list[str]:
    """The functions at the top of a gunicorn.conf.py that have the name of a hook."""
    tree = parsed(path) if path.suffix == ".py" else None
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] if tree else []
    return [name for name in names if name in HOOKS]


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
