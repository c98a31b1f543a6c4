"""The command line: ``lockgate`` and ``python -m lockgate``."""

import sys

from lockgate._lockgate import run


def main() -> None:
    """Runs the server, or asks one; the exit code is that of the process."""
    if sys.argv[1:2] in (["ctl"], ["top"]):
        from lockgate import control

        sys.exit(control.main(sys.argv))
    sys.exit(run(sys.argv))


if __name__ == "__main__":
    main()
