"""The command line: ``lockgate`` and ``python -m lockgate``."""

import importlib
import io
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
        sys.exit(run_command(name, rest))
    sys.exit(run(sys.argv))


def run_command(name: str, arguments: list[str]) -> int:
    """Runs a command that has a module; returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal or a pipe that cannot encode a character gets it escaped.
        sys.stdout.reconfigure(errors="backslashreplace")
    code: int
    try:
        code = importlib.import_module(COMMANDS[name]).main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 0
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe. Without this, Python would report that again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


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
