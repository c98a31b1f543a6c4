"""The command line: ``lockgate`` and ``python -m lockgate``."""

import os
import sys

from lockgate._lockgate import run


def main() -> None:
    """Runs the server, a command for a running one (`ctl`, `top`), or another command."""
    leave_own_directory()
    if sys.argv[1:2] == ["convert"]:
        from lockgate.convert import command

        sys.exit(command.main(sys.argv[2:]))
    if sys.argv[1:2] == ["hash-password"]:
        from lockgate import hash_password

        sys.exit(hash_password.main(sys.argv[2:]))
    if sys.argv[1:2] == ["precompress"]:
        from lockgate import precompress

        sys.exit(precompress.main(sys.argv[2:]))
    if sys.argv[1:2] in (["ctl"], ["top"]):
        from lockgate import control

        sys.exit(control.main(sys.argv))
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
