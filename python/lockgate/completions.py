"""The command `lockgate completions`: prints what a shell reads to complete command lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lockgate.arguments import Parser, listed

#: Generated files, by shell.
FILES = {"bash": "lockgate.bash", "zsh": "_lockgate", "fish": "lockgate.fish"}

#: Files that the package contains: completions and man pages.
MANUAL = Path(__file__).parent / "manual"

DESCRIPTION = """\
Prints the completion of lockgate for a shell: commands, flags, and values of settings. Without a
name it is that of the variable SHELL.

An installed package has the files below share/ of its prefix, where bash-completion, zsh and fish
look if the prefix is /usr or /usr/local. In a virtualenv bash finds its file too, with
bash-completion 2.12 or newer; otherwise one of the commands below is needed, once."""


def main(arguments: Sequence[str]) -> int:
    commands = parser()
    shell = commands.parse_args(arguments).shell or os.path.basename(os.environ.get("SHELL", ""))
    if shell not in FILES:
        given = f"SHELL = {os.environ['SHELL']}" if os.environ.get("SHELL") else "SHELL is not set"
        commands.error(f"{given}: name {listed(list(FILES))}")
    sys.stdout.write((MANUAL / FILES[shell]).read_text("utf-8"))
    return 0


def parser() -> Parser:
    parser = Parser(
        "lockgate completions",
        DESCRIPTION,
        examples={
            "lockgate completions bash > ~/.local/share/bash-completion/completions/lockgate": "",
            'lockgate completions zsh > "${fpath[1]}/_lockgate"': "",
            "lockgate completions fish > ~/.config/fish/completions/lockgate.fish": "",
        },
        exit_codes={0: "printed", 2: "no such shell"},
    )
    parser.add_argument(
        "shell", nargs="?", metavar="SHELL", choices=list(FILES), help=listed(list(FILES))
    )
    return parser
