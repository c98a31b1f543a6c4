"""The command `lockgate man`: shows a man page of the installed version."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from lockgate.__main__ import COMMANDS
from lockgate.arguments import Parser
from lockgate.completions import MANUAL

DESCRIPTION = """\
Shows a man page of this version of Lockgate with man(1): lockgate(1), lockgate.toml(5) with every
setting, or that of a command. It finds the page also where man does not look, such as in a
virtualenv that is not active."""

CANNOT_SHOW = 1


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    if options.path:
        print(MANUAL if options.page is None else file_of(options.page))
        return 0
    path = file_of(options.page or "lockgate")
    try:
        return subprocess.run(["man", path], check=False).returncode
    except FileNotFoundError:
        print(
            f"lockgate: man is not installed, and would show {path}; see lockgate -h, ",
            end="",
            file=sys.stderr,
        )
        print("or lockgate help NAME for one setting", file=sys.stderr)
        return CANNOT_SHOW
    except KeyboardInterrupt:
        return 130


def pages() -> list[str]:
    """The names of the pages, as they are written here: commands have no prefix."""
    return ["lockgate", "lockgate.toml", "help", *sorted(COMMANDS)]


def file_of(page: str) -> str:
    for name in (f"lockgate-{page}.1", f"{page}.1", f"{page}.5"):
        if (MANUAL / name).is_file():
            return str(MANUAL / name)
    raise FileNotFoundError(page)


def parser() -> Parser:
    parser = Parser(
        "lockgate man",
        DESCRIPTION,
        examples={
            "lockgate man": "lockgate(1)",
            "lockgate man lockgate.toml": "every setting",
            "lockgate man ctl": "one command",
            "lockgate man --path": "the directory of the pages, for a packager",
        },
        exit_codes={0: "shown", 1: "man is not installed", 2: "no such page"},
    )
    parser.add_argument(
        "page",
        nargs="?",
        metavar="PAGE",
        choices=pages(),
        help="a command, lockgate or lockgate.toml",
    )
    parser.add_argument("--path", action="store_true", help="print where the page is instead")
    return parser
