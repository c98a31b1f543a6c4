"""Reads uWSGI's sources in uWSGI's order: variables, the command line, files and what they include.

The result is a list of options. A condition is decided here and now, a loop is unrolled, an
include is read where it stands; `inherit` is read at the end, and placeholders are replaced before
that, as in uWSGI. No command is executed and nothing is fetched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from lockgate.convert.option import CPUS, Option
from lockgate.convert.source import (
    MOST_CHARACTERS,
    MOST_FILES,
    MOST_OPTIONS,
    MOST_VALUE_CHARACTERS,
    ConversionError,
    Machine,
    Place,
    read_text,
    replace_within,
)
from lockgate.convert.uwsgi import formats
from lockgate.convert.uwsgi.logic import LOGIC, Logic
from lockgate.convert.uwsgi.magic import Magic
from lockgate.convert.uwsgi.placeholders import Placeholders

#: They end a condition or a loop.
ENDS = ("end", "endif", "end-if", "endfor", "end-for")

#: They define a placeholder or an option at once.
SETTERS = ("set", "set-placeholder", "set-ph")

#: They are read at once, before placeholders are replaced.
LOADERS = ("include", "config", *formats.OPTIONS)

#: Variables with uWSGI's prefix that a running uWSGI sets itself.
OWN_VARIABLES = (
    "UWSGI_RELOADS",
    "UWSGI_VASSALS_DIR",
    "UWSGI_EMPEROR_FD",
    "UWSGI_BROODLORD_NUM",
    "UWSGI_EMPEROR_FD_CONFIG",
    "UWSGI_EMPEROR_PROXY",
    "UWSGI_JAIL_PID",
    "UWSGI_ORIGINAL_PROC_NAME",
)


@dataclass
class Reader:
    """Collects options; `finish` replaces placeholders."""

    machine: Machine
    options: list[Option] = field(default_factory=list)
    #: Problems that do not stop the conversion.
    notes: list[str] = field(default_factory=list)
    custom: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.magic = Magic(self.machine)
        self.placeholders = Placeholders(self.machine)
        self.logic: Logic | None = None
        self.is_repeating = False
        self.open_files: list[str] = []
        self.files = self.characters = 0
        self.last_file = ""

    def read_environment(self) -> None:
        for name, value in sorted(self.machine.environment.items()):
            if name.startswith("UWSGI_") and name not in OWN_VARIABLES:
                key = name[len("UWSGI_") :].lower().replace("_", "-")
                self.add(Place(f"the variable {name}"), key, value)

    def read_arguments(self, arguments: Iterable[tuple[str, str | None]]) -> None:
        for key, value in arguments:
            self.add(Place("the command line"), key, value)

    def read_file(self, name: str, how: formats.Format | None = None, is_main: bool = True) -> None:
        """Reads FILE or FILE:SECTION."""
        if "://" in name:
            raise ConversionError(
                f"{name}: is not a file; save what it has as a file and name that"
            )
        path, colon, section = name.rpartition(":")
        if not colon:
            path, section = name, ""
        if not path:
            path = self.last_file
        how = how or formats.FORMATS.get(os.path.splitext(path)[1])
        if how is None:
            raise ConversionError(
                f"{name}: the format is unknown: the name of the file must end in .ini, .yaml, "
                ".yml, .json or .xml"
            )
        identity = f"{os.path.realpath(os.path.join(self.machine.directory, path))}:{section}"
        if identity in self.open_files:
            raise ConversionError(f"{name}: includes itself ({' -> '.join(self.open_files)})")
        self.files += 1
        if self.files > MOST_FILES:
            raise ConversionError(f"{name}: more than {MOST_FILES} files are included")
        self.open_files.append(identity)
        self.last_file = path
        self.magic.enter(name, path, section or None, is_main)
        text = read_text(path, self.machine.directory)
        try:
            for item in how(text, section or None, self.magic, path):
                place = Place(path, item.line)
                if item.ignored:
                    self.append(Option(place, item.key, item.value, ignored=item.ignored))
                else:
                    self.add(place, item.key, item.value)
        except formats.NoSection as problem:
            if is_main:
                raise
            self.notes.append(f"{problem}; uWSGI goes on without it")
        self.open_files.pop()

    def add(self, place: Place, key: str, value: str | None) -> None:
        """Adds one key, or what the open condition or loop makes of it."""
        if self.logic is None or self.is_repeating or key in ENDS:
            self.append_and_act(Option(place, key, value))
            return
        if not self.logic.rounds:
            self.append(Option(place, key, value, ignored=self.logic.reason()))
        # A file that is read in here is not subject to the condition again.
        self.is_repeating = True
        for result in self.logic.apply(value):
            self.append_and_act(Option(place, key, result))
        self.is_repeating = False

    def append_and_act(self, option: Option) -> None:
        self.append(option)
        key, value, place = option.key, option.text, option.place
        if key in ENDS:
            option.did = f"ends {self.logic.name}" if self.logic else "ends nothing"
            option.is_immediate = True
            if not self.is_repeating:
                self.logic = None
        elif key in LOGIC:
            option.is_immediate = True
            if self.logic is not None:
                raise ConversionError(
                    f"{place}: {key} inside {self.logic.name} ({self.logic.place}): "
                    "uWSGI refuses a condition inside another one"
                )
            self.logic = Logic.open(place, key, option.value, self.machine, self.exported)
            option.did = self.logic.outcome()
        elif key in SETTERS:
            option.is_immediate = True
            name, equal, content = value.partition("=")
            if not equal:
                raise ConversionError(f"{place}: {key} = {value}: must be NAME=VALUE")
            option.did = f"sets {name}"
            # uWSGI replaces nothing in the value of a placeholder.
            is_placeholder = key != "set"
            self.append(
                Option(place, name, content, is_own=is_placeholder, is_immediate=is_placeholder)
            )
        elif key in ("declare-option", "declare-option2"):
            option.is_immediate = True
            name, equal, content = value.partition("=")
            if not equal:
                raise ConversionError(f"{place}: {key} = {value}: must be NAME=TEMPLATE")
            option.did = f"declares the option {name}, which is replaced where it is used"
            self.custom[name] = content
        elif key in LOADERS:
            option.is_immediate = True
            self.load(option, formats.OPTIONS.get(key))

    def load(self, option: Option, how: formats.Format | None) -> None:
        before = len(self.options)
        name = option.text.replace(CPUS, str(self.machine.cpus))
        try:
            self.read_file(name, how, is_main=False)
        except ConversionError as problem:
            text = str(problem)
            place = str(option.place)
            raise ConversionError(text if place in text else f"{place}: {text}") from None
        option.did = f"read: it has {formats.counted(len(self.options) - before)}"

    def append(self, option: Option) -> None:
        if len(self.options) >= MOST_OPTIONS:
            raise ConversionError(f"{option.place}: more than {MOST_OPTIONS} options")
        if len(option.text) > MOST_VALUE_CHARACTERS:
            raise ConversionError(
                f"{option.place}: the value of {option.key} has more than "
                f"{MOST_VALUE_CHARACTERS} characters"
            )
        self.characters += len(option.text)
        if self.characters > MOST_CHARACTERS:
            raise ConversionError(
                f"{option.place}: all values have more than {MOST_CHARACTERS} characters"
            )
        option.template = option.text
        if option.value is not None:
            option.value = option.value.replace(CPUS, str(self.machine.cpus))
        self.options.append(option)

    def exported(self, key: str) -> str | None:
        """The first value of an option, as a placeholder sees it."""
        for option in self.options:
            if option.key == key and not option.ignored:
                return option.text
        return None

    def finish(self) -> list[Option]:
        """Replaces placeholders, reads inherited files, replaces options that a file declares."""
        self.placeholders.replace(self.options)
        position = 0
        while position < len(self.options):
            option = self.options[position]
            position += 1
            if option.ignored or option.is_immediate:
                continue
            if option.key == "inherit":
                option.is_immediate = True
                before = len(self.options)
                self.load(option, None)
                if any("%(" in added.text for added in self.options[before:]):
                    self.notes.append(
                        f"{option.place}: uWSGI replaces no %(placeholders) in an inherited file; "
                        "use include for that"
                    )
            elif option.key in self.custom:
                option.did = "replaced by the options that it stands for"
                option.is_immediate = True
                for key, value in self.expand(option):
                    self.append(Option(option.place, key, value))
        return self.options

    def expand(self, option: Option) -> list[tuple[str, str]]:
        arguments = option.text.split(" ")
        results = []
        for part in self.custom[option.key].split(";"):
            key, equal, value = part.partition("=")
            if not equal:
                continue
            if "$" in part:
                self.placeholders.count(len(arguments))
                place = f"{option.place}: the option {option.key}"
                for number, argument in enumerate(arguments, 1):
                    key = replace_within(key, f"${number}", argument, place)
                    value = replace_within(value, f"${number}", argument, place)
            results.append((key, value))
        return results
