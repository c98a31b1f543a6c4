"""The command line: ``lockgate`` and ``python -m lockgate``."""

import importlib
import os
import sys

from lockgate._lockgate import run

#: The commands that have a module of their own: its `main` takes the arguments behind the command
#: and returns the exit code. It is imported only for its command.
COMMANDS = {
    "check": "lockgate.check.command",
    "completions": "lockgate.completions",
    "convert": "lockgate.convert.command",
    "ctl": "lockgate.control",
    "dev": "lockgate.dev.command",
    "doctor": "lockgate.doctor",
    "hash-password": "lockgate.hash_password",
    "init": "lockgate.init.command",
    "man": "lockgate.man",
    "precompress": "lockgate.precompress",
    "top": "lockgate.top",
}


def main() -> None:
    """Runs the server, or another command. The server itself answers `help` about settings."""
    leave_own_directory()
    name, *rest = sys.argv[1:] or [""]
    if name == "help" and rest and rest[0] in COMMANDS:
        name, rest = rest[0], [*rest[1:], "-h"]
    if name in COMMANDS:
        command = importlib.import_module(COMMANDS[name])
        sys.exit(command.main(rest))
    sys.exit(run(sys.argv))


def leave_own_directory() -> None:
    """Removes from `sys.path` the entry that Python has put first: the working directory (`-m`), or
    the directory of the console script. The server's own imports must not find a `json.py` there.
    The working directory is added again when the application is imported.
    """
    program = os.path.realpath(sys.argv[0])
    is_module = os.path.realpath(__file__) == program
    own = os.getcwd() if is_module else os.path.dirname(program)
    is_own = is_module or os.path.basename(program) == "lockgate"
    if is_own and sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(own):
        del sys.path[0]


if __name__ == "__main__":
    main()
