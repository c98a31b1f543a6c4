"""The state of a conversion: options that are still to be decided, settings, the report.

Invariant: an option that was taken has an entry in the report, and none has two.
"""

from __future__ import annotations

from lockgate.convert.option import Option
from lockgate.convert.report import Entry, Outcome, Report
from lockgate.convert.settings import Settings, SourceLine, Table, Value
from lockgate.convert.source import Machine
from lockgate.convert.values import is_on, strtol


class Conversion:
    """The functions that map options take them from it and say what becomes of them."""

    def __init__(self, machine: Machine, options: list[Option], used: set[str]) -> None:
        self.machine = machine
        self.pending = [option for option in options if not option.ignored]
        self.used_placeholders = used
        self.settings = Settings()
        self.report = Report()
        self.order = {id(option): position for position, option in enumerate(options)}
        self.entries: dict[int, Entry] = {}
        for option in options:
            if option.ignored:
                self.record(option, Outcome.NOT_NEEDED, (), option.ignored)

    def take_all(self, *names: str) -> list[Option]:
        """Removes all options of these names; those with a variable that is not set are decided."""
        taken = [option for option in self.pending if option.key in names]
        self.pending = [option for option in self.pending if option.key not in names]
        usable = []
        for option in taken:
            if option.missing:
                variables = ", ".join(dict.fromkeys(option.missing))
                self.not_supported(
                    option,
                    f"the variable {variables} is not set here: convert again where it is set",
                )
            else:
                usable.append(option)
        return usable

    def take(self, *names: str) -> Option | None:
        """Removes the options of these names, of which uWSGI uses the last one."""
        taken = self.take_all(*names)
        for option in taken[:-1]:
            self.not_needed(option, f"{taken[-1].place} sets it again")
        return taken[-1] if taken else None

    def take_number(self, *names: str) -> tuple[Option, int] | None:
        """The last option of these names, read as uWSGI reads a number."""
        option = self.take(*names)
        if option is None:
            return None
        number = strtol(option.text)
        if number < 0:
            self.not_supported(option, "uWSGI refuses a negative number, and so does Lockgate")
            return None
        return option, number

    def take_flag(self, *names: str) -> Option | None:
        """The last option of these names if it is on; if it is off it is decided."""
        option = self.take(*names)
        if option is not None and not is_on(option.value):
            self.not_needed(option, "it is switched off")
            return None
        return option

    def mapped(self, option: Option, name: str, value: Value, detail: str = "") -> None:
        self.put(option, Outcome.MAPPED, name, value, detail)

    def changed(self, option: Option, name: str, value: Value, detail: str) -> None:
        self.put(option, Outcome.CHANGED, name, value, detail)

    def put(self, option: Option, outcome: Outcome, name: str, value: Value, detail: str) -> None:
        if name == "pid" and isinstance(value, str) and value.isdigit():
            # The setting refuses a number, because a port is meant; here it names a file.
            value = f"./{value}"
        self.settings.put(name, value, *self.comments(option, outcome, detail))
        self.record(option, outcome, (name,), detail)

    def add(
        self,
        option: Option,
        name: str,
        value: str | Table,
        detail: str = "",
        outcome: Outcome = Outcome.MAPPED,
    ) -> None:
        """Adds an item to a setting that is a list."""
        self.settings.add(name, value, *self.comments(option, outcome, detail))
        self.record(option, outcome, (name,), detail)

    def comments(self, option: Option, outcome: Outcome, detail: str) -> list[str]:
        value = f" = {option.shown}" if option.shown else ""
        line = SourceLine(f"{option.place}: {option.key}{value}")
        return [line, detail] if detail else [line]

    def default(self, name: str, value: Value, reason: str) -> None:
        """A setting without an option: uWSGI's default is another one than Lockgate's."""
        if name not in self.settings:
            self.settings.put(name, value, reason)

    def not_needed(self, option: Option, reason: str) -> None:
        self.record(option, Outcome.NOT_NEEDED, (), reason)

    def change_only(self, option: Option, detail: str) -> None:
        """It changes in meaning, and there is nothing to set."""
        self.record(option, Outcome.CHANGED, (), detail)

    def not_supported(self, option: Option, advice: str) -> None:
        self.record(option, Outcome.NOT_SUPPORTED, (), advice)

    def unknown(self, option: Option, detail: str) -> None:
        self.record(option, Outcome.UNKNOWN, (), detail)

    def record(
        self, option: Option, outcome: Outcome, settings: tuple[str, ...], detail: str
    ) -> None:
        if settings and option.variables:
            outcome = Outcome.CHANGED
            names = ", ".join(dict.fromkeys(option.variables))
            variables = " and ".join(f"LOCKGATE_{name.upper()}" for name in settings)
            instead = f"remove the setting and set {variables}"
            if settings == ("bind",) and set(option.variables) == {"PORT"}:
                instead = "remove the setting: without it Lockgate listens on 0.0.0.0:$PORT"
            elif settings == ("env",):
                instead = "set it there: the application has the environment of the server"
            frozen = (
                f"the variable {names} had this value during the conversion; to let the "
                f"environment decide, {instead}"
            )
            detail = f"{detail}; {frozen}" if detail else frozen
            for name in settings:
                self.settings[name].comments.append(frozen)
        if settings and option.files:
            outcome = Outcome.CHANGED
            copied = f"it contains what {', '.join(option.files)} had during the conversion"
            detail = f"{detail}; {copied}" if detail else copied
            for name in settings:
                self.settings[name].comments.append(copied)
        assert id(option) not in self.entries, f"{option.key} has two entries"
        self.entries[id(option)] = Entry(
            option.place, option.key, option.shown, outcome, settings, detail
        )

    def finish(self) -> Report:
        """The report, with the entries in the order of the source."""
        for option in self.pending:
            assert id(option) in self.entries, f"{option.key} has no entry"
        assert len(self.entries) == len(self.order)
        self.report.entries = [
            self.entries[key] for key in sorted(self.entries, key=self.order.__getitem__)
        ]
        return self.report
