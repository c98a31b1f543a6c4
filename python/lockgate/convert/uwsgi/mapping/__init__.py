"""What each option of uWSGI becomes. One module for each area; `MAPPINGS` has their order."""

from __future__ import annotations

import re
from collections.abc import Callable

from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option
from lockgate.convert.report import Outcome
from lockgate.convert.uwsgi.mapping import (
    application,
    deadlines,
    logs,
    process,
    recycling,
    shared,
    sockets,
    static_files,
    workers,
)
from lockgate.convert.uwsgi.options import names
from lockgate.convert.values import is_on, strtol

#: Each takes the options that it knows; later ones see the settings of earlier ones.
MAPPINGS: tuple[Callable[[Conversion], None], ...] = (
    process.convert,
    application.convert,
    sockets.convert,
    workers.convert,
    recycling.convert,
    deadlines.convert,
    logs.convert,
    shared.convert,
    static_files.convert,
)


#: Options of sites that reload without a stop.
RELOADS = ("master", "touch-reload", "touch-workers-reload", "touch-chain-reload")


def convert(conversion: Conversion) -> None:
    """Decides every option."""
    note_comments(conversion)
    note_reloads(conversion)
    for option in [option for option in conversion.pending if option.did]:
        conversion.pending.remove(option)
        conversion.not_needed(option, option.did)
    for mapping in MAPPINGS:
        mapping(conversion)
    is_strict = any(o.key == "strict" and is_on(o.value) for o in conversion.pending)
    for option in conversion.pending:
        advise(conversion, option, is_strict)
    conversion.pending = []


def note_comments(conversion: Conversion) -> None:
    """uWSGI has no comments behind values; it reads a number before one all the same."""
    for option in conversion.pending:
        is_text = option.key not in names().flags | names().numbers
        if is_text and re.search(r"\s[;#]\s", option.text):
            conversion.report.notes.append(
                f"{option.place}: uWSGI has no comments behind values; the value of {option.key} "
                "contains this one"
            )


def note_reloads(conversion: Conversion) -> None:
    """A deploy with touch-reload, or with HUP to the master, becomes one with `lockgate ctl`."""
    if any(option.key in RELOADS for option in conversion.pending):
        conversion.report.notes.append(
            'for lockgate ctl reload --wait in a deploy, set admin_bind = "unix:PATH", in a '
            "directory that the server's user may write to; HUP works without it"
        )


def advise(conversion: Conversion, option: Option, is_strict: bool) -> None:
    """Decides an option that no setting stands for."""
    effect = "does not start, because strict is set" if is_strict else "ignores it"
    known = names()
    advice = known.advice.get(option.key)
    if advice is not None:
        is_off = option.key in known.flags | known.optional and not is_on(option.value)
        is_off = is_off or (option.key in known.numbers and strtol(option.text) == 0)
        if is_off and advice.outcome is Outcome.NOT_SUPPORTED:
            conversion.not_needed(option, "it is switched off")
        else:
            conversion.record(option, advice.outcome, (), advice.text)
    elif option.is_own or option.key in conversion.used_placeholders:
        conversion.not_needed(option, "a placeholder: its value stands where it is used")
    elif option.key in known.letters:
        meant = known.letters[option.key]
        conversion.unknown(
            option,
            f"letters are for uWSGI's command line, and in a file uWSGI {effect}; "
            f"{meant} is the name",
        )
    else:
        nearest = known.nearest(option.key)
        meant = f"; did you mean {nearest}?" if nearest else ""
        conversion.unknown(option, f"uWSGI has no such option and {effect}{meant}")
