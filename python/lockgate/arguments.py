"""Arguments of the commands: one form of help and of errors for all of them.

The completions of shells and the man pages are generated from these parsers, so each module of a
command has a function `parser()` that returns its `Parser` and reads nothing of its surroundings.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

#: Longest lines of a help text.
WIDTH = 100
USAGE_ERROR = 2

#: Phrases of argparse, and those that the server uses for the same mistakes.
WORDS = {
    r"expected one argument$": "requires a value",
    r"expected at least one argument$": "requires at least one value",
    r"expected (\d+) arguments$": r"requires \1 values",
    r"ignored explicit argument .*$": "does not take a value",
    r"^the following arguments are required: (.*)$": r"\1: is missing",
}


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Appends the default to the help of each argument that has one."""

    def __init__(self, prog: str, **rest: Any) -> None:
        width = min(shutil.get_terminal_size().columns - 2, WIDTH)
        super().__init__(prog, max_help_position=30, width=max(width, 40), **rest)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown, help = default_text(action), help_text(action)
        if shown is None or not help or "default" in help:
            return help
        return f"{help} (default: {shown.replace('%', '%%')})"


class Parser(argparse.ArgumentParser):
    """The arguments of one command, with examples. Subcommands have the same class."""

    def __init__(
        self,
        prog: str | None = None,
        description: str | None = None,
        *,
        examples: Mapping[str, str] | None = None,
        exit_codes: Mapping[int, str] | None = None,
        **rest: Any,
    ) -> None:
        """`examples` maps each command line to what it does; paragraphs of `description` have an
        empty line between them."""
        rest.setdefault("formatter_class", HelpFormatter)
        rest.setdefault("allow_abbrev", False)
        super().__init__(prog, description=description, **rest)
        if self.add_help:
            self._option_string_actions["--help"].help = "print this help and exit"
        self.examples = dict(examples or {})
        self.exit_codes = dict(exit_codes or {})

    def format_help(self) -> str:
        width = max(min(shutil.get_terminal_size().columns - 2, WIDTH), 40)
        text = self.description
        if text:
            self.description = "\n\n".join(
                textwrap.fill(" ".join(paragraph.split()), width)
                for paragraph in text.split("\n\n")
            )
        self.epilog = self._ending(width)
        try:
            return super().format_help()
        finally:
            self.description = text

    def _ending(self, width: int) -> str:
        parts = []
        if self.examples:
            longest = max(map(len, self.examples))
            widest = max(longest + 4 + len(effect) for effect in self.examples.values())
            gap = "\n      " if widest > width else "  "
            lines = ["examples:"]
            for command, effect in self.examples.items():
                start = command if widest > width else command.ljust(longest)
                lines.append(f"  {start}{gap}{effect}".rstrip())
            parts.append("\n".join(lines))
        if self.exit_codes:
            codes = "; ".join(f"{code} {meaning}" for code, meaning in self.exit_codes.items())
            parts.append(textwrap.fill(f"exit codes: {codes}", width, subsequent_indent="  "))
        return "\n\n".join(parts)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            command = self.subcommand(options)
            command.error(command._about_unknown(rest[0]))
        return options

    def subcommands(self) -> dict[str, Parser]:
        """Their parsers, by their names."""
        found: dict[str, Parser] = {}
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found.update(action.choices)
        return found

    def subcommand(self, options: argparse.Namespace) -> Parser:
        """The parser of the innermost subcommand that was named, or this one."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                chosen = self.subcommands().get(getattr(options, action.dest, ""))
                return chosen.subcommand(options) if chosen else self
        return self

    def _about_unknown(self, argument: str) -> str:
        if not argument.startswith("-"):
            return f"{argument}: one argument too many"
        return f"{argument}: unknown flag{near(argument, list(self._option_string_actions))}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            requirement = near(str(value), known) or f"; it must be {listed(known)}"
            noun = "command" if isinstance(action, argparse._SubParsersAction) else "value"
            raise argparse.ArgumentError(None, f"{value}: unknown {noun}{requirement}")

    def error(self, message: str) -> NoReturn:
        """Exits with what is wrong, with which value, and where to find what is right."""
        message = message.removeprefix("argument ")
        for theirs, ours in WORDS.items():
            message = re.sub(theirs, ours, message)
        where = self.prog.removeprefix("lockgate ")
        end = "" if message.endswith("?") else f"; see {self.prog} -h"
        self._print_message(f"lockgate: {where}: {message}{end}\n", sys.stderr)
        raise SystemExit(USAGE_ERROR)


def help_text(action: argparse.Action) -> str:
    """The help of an argument. Python 3.10 appends the default to that of a switch."""
    return (action.help or "").removesuffix(" (default: %(default)s)")


def default_text(action: argparse.Action) -> str | None:
    """The default as it would be typed, if there is one to speak of."""
    default = action.default
    if default in (None, False, argparse.SUPPRESS, "") or default == []:
        return None
    if isinstance(default, bool) or action.nargs == 0:
        return None
    if isinstance(default, (list, tuple)):
        return ",".join(str(item) for item in default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def near(wrong: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(wrong, known, 1)
    return f"; did you mean {found[0]}?" if found else ""


def listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def whole_number(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number of at least this."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,18}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least}, not {text}")
        return int(text)

    return read
