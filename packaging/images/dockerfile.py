"""A Dockerfile as stages of instructions, as moby's own parser reads it (package dockerfile)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dockerfile

# $NAME, ${NAME} and ${NAME:-default}.
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\})")
KNOWN = frozenset(
    "CMD COPY ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL RUN STOPSIGNAL USER WORKDIR".split()
)


class Unsupported(Exception):
    """An instruction that this program cannot perform; the text has its line."""


@dataclass(frozen=True)
class Instruction:
    name: str
    words: tuple[str, ...]
    # Pairs, because a flag may occur twice.
    flags: tuple[tuple[str, str], ...]
    # Whether the words are a list (exec form) and not a line for a shell.
    is_list: bool
    line: int


@dataclass
class Stage:
    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)


def read(path: Path, arguments: Mapping[str, str] | None = None) -> list[Stage]:
    """The stages of a file; `arguments` are those of `--build-arg`."""
    values = dict(arguments or {})
    stages: list[Stage] = []
    for command in dockerfile.parse_file(str(path)):
        name = command.cmd.upper()
        if name == "FROM":
            words = list(command.value)
            base = expand(words[0], values)
            has_name = len(words) == 3 and words[1].upper() == "AS"
            stages.append(Stage(words[2] if has_name else str(len(stages)), base))
        elif name == "ARG" and not stages:
            for word in command.value:
                variable, _, default = word.partition("=")
                values.setdefault(variable, default)
        elif name not in KNOWN or not stages:
            raise Unsupported(f"{path.name} line {command.start_line}: {name}")
        else:
            stages[-1].instructions.append(
                Instruction(
                    name=name,
                    words=tuple(command.value),
                    flags=_flags(command.flags),
                    is_list=command.json,
                    line=command.start_line,
                )
            )
    return stages


def _flags(flags: Sequence[str]) -> tuple[tuple[str, str], ...]:
    pairs = (flag.removeprefix("--").partition("=") for flag in flags)
    return tuple((name, value) for name, _, value in pairs)


def expand(text: str, values: Mapping[str, str]) -> str:
    """`text` with its variables, as in all instructions but RUN, CMD and ENTRYPOINT."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return values.get(name) or match[3] or ""

    return VARIABLE.sub(value, text)


def seconds(text: str) -> float:
    """A duration as Docker writes it, such as `1m30s` or `500ms`."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    found = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise ValueError(f"no duration: {text}")
    return sum(float(number) * units[unit] for number, unit in found)
