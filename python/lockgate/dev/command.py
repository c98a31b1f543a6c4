"""The command `lockgate dev`: arguments, addresses and settings, then the server itself.

This process becomes the supervisor. Nothing of the application is imported here: workers are forked
from this process, and would never load again what it has loaded.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lockgate import _lockgate
from lockgate.dev import (
    address,
    ahead,
    arguments,
    certificate,
    one_process,
    settings,
    terminal,
)
from lockgate.dev.address import CannotListen, Listening
from lockgate.dev.arguments import Arguments, parser
from lockgate.dev.discovery import Found, NothingFound
from lockgate.dev.options import Options, wants_colour
from lockgate.dev.serving import Loader, Project, first_line

__all__ = ["main", "parser"]

CANNOT_START = 1
WRONG_SETTINGS = 2
NOTHING_FOUND = 4
DEFAULT_FILE = "lockgate.toml"


def main(words: Sequence[str]) -> int:
    given = arguments.parse(words)
    try:
        with terminal.restored():
            code = run(given)
        if not given.reload:
            one_process.leave(code)
        return code
    except NothingFound as problem:
        code, text = NOTHING_FOUND, str(problem)
    except (CannotListen, OSError) as problem:
        code, text = CANNOT_START, str(problem)
    except ValueError as problem:
        code, text = WRONG_SETTINGS, str(problem).replace("\n", "\nlockgate: ")
    terminal.say(f"lockgate: {text}")
    return code


def run(given: Arguments) -> int:
    """Serves until it is stopped; returns the exit code. Does not return in a worker."""
    config = given.config or (DEFAULT_FILE if Path(DEFAULT_FILE).is_file() else None)
    own = _lockgate.application_settings(config)
    chdir = given.chdir or own["chdir"]
    directory = Path(os.path.abspath(chdir or "."))
    env = settings.variables(dict(own["env"]), directory, os.environ)
    project = Project(
        directory=directory,
        named=given.app or own["app"],
        reason="named on the command line" if given.app else reason_of_settings(config),
        options=options(given),
        pythonpath=[str(directory) for directory in own["pythonpath"]],
        reloads=given.reload,
        debugpy=given.debugpy,
    )
    check_directory(project.directory)
    check_packages(given)
    environment = {**os.environ, **env}
    found = project.find(environment)
    wanted = address.wanted(given.bind, given.host, given.port, environment)
    secure = certificate.settings(given.cert, given.key, environment)
    listening = address.listen(wanted)
    mine: dict[str, object] = {
        **secure,
        "access_logformat": project.options.access_logformat,
        "reload": given.reload,
        **({"reload_extra_files": given.reload_extra_files} if given.reload_extra_files else {}),
        # It holds the event streams of pages that reload themselves.
        **({"push": True} if given.refresh else {}),
        **({"chdir": given.chdir} if given.chdir else {}),
    }
    if env != dict(own["env"]):
        mine["env"] = env
    announce(found, listening, project, "https" if secure else "http")
    listening.leave_open()
    if not given.reload:
        return one_process.serve(project, listening.bind, mine, config, env)
    places = [*found.pythonpath, *project.pythonpath]
    ahead.import_framework(
        found.kind, [project.directory, *map(project.directory.joinpath, places)]
    )
    keywords = settings.keywords(found.app, listening.bind, mine)
    return _lockgate.serve_development(Loader(project), keywords, config)


def options(given: Arguments) -> Options:
    return Options(
        refresh=given.refresh,
        debugger=given.debugger,
        validate=given.validate,
        slow=given.slow,
        colour=wants_colour(os.environ, sys.stderr.isatty()),
    )


def reason_of_settings(config: str | None) -> str:
    """What names the application where the command line does not. Variables win over the file."""
    return "LOCKGATE_APP" if os.environ.get("LOCKGATE_APP") or not config else f"app in {config}"


def check_directory(directory: Path) -> None:
    if not directory.is_dir():
        raise ValueError(f"chdir = {directory}: there is no such directory")


def check_packages(given: Arguments) -> None:
    """Raises ValueError for a flag whose package is missing."""
    for flag, package, is_given in (
        ("--debugpy", "debugpy", given.debugpy is not None),
        ("--debugger", "werkzeug", given.debugger),
    ):
        if is_given and importlib.util.find_spec(package) is None:
            raise ValueError(f"{flag} needs the package {package}: pip install {package}")


def announce(found: Found, listening: Listening, project: Project, scheme: str) -> None:
    """Two lines: what is served and why, and where."""
    terminal.say(first_line(found, _lockgate.__version__))
    urls = "  ".join(listening.urls(scheme))
    reloads = "a saved file reloads it" if project.reloads else "one process, without reloads"
    terminal.say(f"{urls}  (Ctrl-C stops; {reloads})")
