"""uWSGI's command line, read as getopt_long(3) reads it."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.convert.source import ConversionError
from lockgate.convert.uwsgi.options import Names, names

Pairs = list[tuple[str, str | None]]


def read_arguments(arguments: Sequence[str]) -> tuple[Pairs, list[str]]:
    """The options with their values, and the other arguments, which are files."""
    known = names()
    options: Pairs = []
    files: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            files += rest
            break
        if argument.startswith("--"):
            long(argument[2:], rest, options, known)
        elif argument.startswith("-") and argument != "-":
            letters(argument[1:], rest, options, known)
        else:
            files.append(argument)
    return options, files


def long(argument: str, rest: list[str], options: Pairs, known: Names) -> None:
    """`--name`, `--name=value` or `--name value`; the name may be cut if it stays unique."""
    name, equal, value = argument.partition("=")
    if name not in known:
        every = [*known.mapped, *known.advice]
        begun = sorted(other for other in every if other.startswith(name))
        if len(begun) != 1:
            nearest = known.nearest(name)
            meant = f"; did you mean --{nearest}?" if nearest else ""
            raise ConversionError(f"--{name}: uWSGI has no such option and does not start{meant}")
        name = begun[0]
    if equal:
        options.append((name, value))
    elif name in known.flags or name in known.optional:
        options.append((name, None))
    else:
        options.append((name, following(f"--{name}", rest)))


def letters(argument: str, rest: list[str], options: Pairs, known: Names) -> None:
    """`-p 4`, `-p4`, or several flags in one: `-MT`."""
    while argument:
        letter, argument = argument[0], argument[1:]
        name = known.letters.get(letter)
        if name is None:
            raise ConversionError(f"-{letter}: uWSGI has no such option and does not start")
        if name in known.flags:
            options.append((name, None))
        elif name in known.optional:
            options.append((name, argument or None))
            return
        else:
            options.append((name, argument or following(f"-{letter}", rest)))
            return


def following(argument: str, rest: list[str]) -> str:
    if not rest:
        raise ConversionError(f"{argument}: needs a value")
    return rest.pop(0)
