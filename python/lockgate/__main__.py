"""The command line: ``lockgate`` and ``python -m lockgate``."""

import sys

from lockgate._lockgate import run


def main() -> None:
    """Runs the server; the exit code is that of the process."""
    sys.exit(run(sys.argv))


if __name__ == "__main__":
    main()
