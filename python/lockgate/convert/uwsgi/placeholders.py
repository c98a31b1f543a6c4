"""Placeholders: `$(VARIABLE)`, `@(file)` and `%(option)`, replaced in this order as uWSGI does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from lockgate.convert.option import CPUS
from lockgate.convert.source import (
    MOST_CHARACTERS,
    MOST_VALUE_CHARACTERS,
    ConversionError,
    Machine,
    read_text,
)
from lockgate.convert.values import strtol

if TYPE_CHECKING:
    from lockgate.convert.option import Option

#: Replacements in one value, which might contain itself, and in all values.
MOST_REPLACEMENTS = 1000
MOST_REPLACEMENTS_IN_ALL = 50_000


PARENTHESIS = re.compile(r"[()]")


class Placeholders:
    """The three passes over all options."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.first: dict[str, Option] = {}
        self.replacements = self.characters = 0
        #: Options whose values other options use.
        self.used: set[str] = set()

    def replace(self, options: list[Option]) -> None:
        for option in reversed(options):
            if not option.ignored:
                self.first[option.key] = option
        for symbol, content in (("$", self.variable), ("@", self.file), ("%", self.option)):
            for option in options:
                if not option.ignored and not option.is_immediate and symbol + "(" in option.text:
                    self.replace_in(option, symbol, content)

    def replace_in(
        self, option: Option, symbol: str, content: Callable[[Option, str], str | None]
    ) -> None:
        text, start = option.template, 0
        for _ in range(MOST_REPLACEMENTS):
            found = innermost(text, symbol, start)
            if found is None:
                break
            first, last = found
            value = content(option, text[first + 2 : last])
            if value is None:
                start = last
                continue
            self.count(1)
            # A value may use itself, as it is so far.
            option.template = text = text[:first] + value + text[last + 1 :]
            # uWSGI goes back to the second character, so that a placeholder may come out of another
            # one, but not at the start of the value.
            start = 1
            if len(text) > MOST_VALUE_CHARACTERS:
                raise ConversionError(
                    f"{option.place}: the value of {option.key} grows beyond "
                    f"{MOST_VALUE_CHARACTERS} characters"
                )
        else:
            raise ConversionError(f"{option.place}: the value of {option.key} contains itself")
        self.characters += len(text)
        if self.characters > MOST_CHARACTERS:
            raise ConversionError(
                f"{option.place}: all values have more than {MOST_CHARACTERS} characters"
            )
        option.value = text.replace(CPUS, str(self.machine.cpus))

    def count(self, replacements: int) -> None:
        self.replacements += replacements
        if self.replacements > MOST_REPLACEMENTS_IN_ALL:
            raise ConversionError(f"more than {MOST_REPLACEMENTS_IN_ALL} placeholders")

    def variable(self, option: Option, name: str) -> str | None:
        value = self.machine.environment.get(name)
        if value is None:
            option.missing = (*option.missing, name)
        else:
            option.variables = (*option.variables, name)
        return value

    def file(self, option: Option, name: str) -> str:
        if "://" in name:
            raise ConversionError(
                f"{option.place}: @({name}): only files are read; save its output as a file"
            )
        try:
            text = read_text(name, self.machine.directory)
        except ConversionError as problem:
            raise ConversionError(f"{option.place}: @({name}): {problem}") from None
        option.files = (*option.files, name)
        return text.removesuffix("\n")

    def option(self, option: Option, expression: str) -> str | None:
        if " " not in expression:
            return self.lookup(option, expression)
        return self.calculate(option, expression)

    def lookup(self, user: Option, key: str) -> str | None:
        option = self.first.get(key)
        if option is None:
            return None
        self.used.add(key)
        user.variables += tuple(v for v in option.variables if v not in user.variables)
        user.files += tuple(name for name in option.files if name not in user.files)
        user.missing += tuple(v for v in option.missing if v not in user.missing)
        return option.template

    def calculate(self, user: Option, expression: str) -> str:
        """`%(workers * 2)`: from left to right; two values without an operator are joined."""
        result, operator = "", ""
        for token in filter(None, expression.split(" ")):
            if token in ("+", "-", "*", "/"):
                operator = token
                continue
            if token in ("++", "--"):
                result = str(strtol(result) + (1 if token == "++" else -1))
                operator = ""
                continue
            value = token if token.isdigit() else self.lookup(user, token) or ""
            value = value.replace(CPUS, str(self.machine.cpus))
            result = combine(result, operator, value)
            operator = ""
        return result


def combine(left: str, operator: str, right: str) -> str:
    if not operator:
        return left + right
    a, b = strtol(left), strtol(right)
    if operator == "+":
        return str(a + b)
    if operator == "-":
        return str(a - b)
    if operator == "*":
        return str(a * b)
    quotient = abs(a) // abs(b) if b else 0
    return str(quotient if (a < 0) == (b < 0) else -quotient)


def innermost(text: str, symbol: str, start: int) -> tuple[int, int] | None:
    """Start and end of the first placeholder that has no other one inside."""
    first = text.find(symbol + "(", start)
    while first >= 0:
        end = text.find(symbol, first + 1)
        last = closing(text, first + 2, end if end >= 0 else len(text))
        if last is not None and last > first + 2:
            return first, last
        first = text.find(symbol + "(", first + 1)
    return None


def closing(text: str, start: int, end: int) -> int | None:
    """The position of the parenthesis that closes the one before `start`."""
    depth = 0
    for match in PARENTHESIS.finditer(text, start, end):
        if match[0] == "(":
            depth += 1
        elif depth == 0:
            return match.start()
        else:
            depth -= 1
    return None
