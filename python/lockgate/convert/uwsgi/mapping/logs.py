"""Logs: files, formats and what is logged."""

from __future__ import annotations

import re

from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option
from lockgate.convert.report import Outcome
from lockgate.convert.uwsgi.mapping.log_format import translate
from lockgate.convert.uwsgi.mapping.process import from_start
from lockgate.convert.values import strtol

#: A year, the longest time that Lockgate accepts.
MOST_MILLISECONDS = 365 * 86400 * 1000


def convert(conversion: Conversion) -> None:
    whole = files(conversion)
    errors = error_loggers(conversion)
    requests = request_loggers(conversion)
    is_disabled = conversion.take_flag("disable-logging")
    if is_disabled is not None:
        conversion.mapped(
            is_disabled, "access_logfile", "none", "other messages are logged all the same"
        )
    elif not requests:
        conversion.default(
            "access_logfile",
            errors or whole or "-",
            "uWSGI logs requests unless disable-logging is set",
        )
    formats(conversion)
    details(conversion)


def files(conversion: Conversion) -> str:
    """The file of everything; empty: standard error."""
    background = conversion.take("daemonize", "daemonize2")
    option = conversion.take("logto", "logto2")
    place = ""
    for found in (background, option):
        if found is None:
            continue
        text = found.text.strip()
        if text.startswith(("/dev/stdout", "/proc/self/fd/1", "/dev/fd/1")):
            place = "/dev/stdout"
        elif text.startswith(("/dev/stderr", "/proc/self/fd/2", "/dev/fd/2")):
            place = "-"
        elif ":" in text and "/" not in text:
            conversion.not_supported(
                found, "logs are not sent over UDP: use syslog or a log shipper"
            )
            continue
        elif not text or text in ("1", "true"):
            place = ""
        else:
            place = from_start(conversion, found)
        detail = ""
        if found is background:
            detail = (
                "Lockgate stays in the foreground: start it from a service manager, see "
                "docs/systemd.md"
            )
        if place:
            outcome = Outcome.CHANGED if detail else Outcome.MAPPED
            conversion.put(found, outcome, "error_logfile", place, detail)
        elif detail:
            conversion.change_only(found, detail)
        else:
            conversion.not_needed(found, "standard error is the default")
    return place


def sink(text: str) -> str | None:
    """The file of a logger (`file:PATH`, `stdio`, `NAME file:PATH`); None: another kind."""
    text = text.strip()
    named = re.match(r"[\w-]+ +([a-z]+:.*|stdio)$", text)
    if named:
        text = named[1]
    kind, _, rest = text.partition(":")
    if kind == "file" and rest:
        return rest.removeprefix("//") if rest.startswith("///") else rest
    if kind == "stdio":
        return "-"
    if kind == "fd" and rest in ("1", "2"):
        return "/dev/stdout" if rest == "1" else "/dev/stderr"
    return None


def error_loggers(conversion: Conversion) -> str:
    return loggers(conversion, ("logger",), "error_logfile")


def request_loggers(conversion: Conversion) -> str:
    return loggers(conversion, ("req-logger", "logger-req"), "access_logfile")


def loggers(conversion: Conversion, keys: tuple[str, ...], name: str) -> str:
    used = ""
    for option in conversion.take_all(*keys):
        place = sink(option.text)
        if place is None:
            conversion.not_supported(
                option,
                "log to a file or a standard stream, and let a log shipper such as Vector or "
                "rsyslog send it on",
            )
        elif used:
            conversion.not_supported(option, f"a log has one file; it is {used}")
        else:
            used = place
            conversion.mapped(option, name, place)
    for option in conversion.take_all("log-syslog") if name == "error_logfile" else []:
        conversion.not_supported(
            option, "log to standard error, which systemd passes on to the journal and to syslog"
        )
    return used


def formats(conversion: Conversion) -> None:
    option = conversion.take("log-format", "logformat")
    if option is not None:
        translated, untranslated = translate(option.text)
        if not translated:
            conversion.not_supported(
                option, "no variable of it has a counterpart; set access_logformat"
            )
        elif untranslated:
            missing = ", ".join(untranslated)
            detail = f"without a counterpart, and - in each line: {missing}"
            conversion.changed(option, "access_logformat", translated, detail)
        else:
            conversion.mapped(option, "access_logformat", translated)
    for option in conversion.take_all("log-encoder", "log-req-encoder"):
        is_requests = option.key == "log-req-encoder"
        name = "access_logformat" if is_requests else "error_logformat"
        if option.text.split(" ")[0].split(":")[0] == "json":
            detail = "the keys are Lockgate's: see docs/logging.md"
            conversion.changed(option, name, "json", detail)
            if not is_requests and "access_logformat" not in conversion.settings:
                conversion.settings.put("access_logformat", "json")
        elif option.text.split(" ")[0] == "nl":
            conversion.not_needed(option, "each message is a line")
        else:
            conversion.not_supported(option, "use json, or a log shipper that transforms lines")
    for option in conversion.take_all(
        "log-format-strftime", "logformat-strftime", "logdate", "log-date"
    ):
        conversion.not_needed(option, "each line has its time, in one format; see log_timezone")


def details(conversion: Conversion) -> None:
    found = conversion.take_number("log-slow")
    if found is not None:
        slow(conversion, *found)
    option = conversion.take_flag("log-x-forwarded-for")
    if option is not None:
        conversion.change_only(
            option,
            "the client's address is taken from X-Forwarded-For, for the application too, if the "
            "proxy is in forwarded_allow_ips (by default this host); uWSGI believes everyone",
        )


def slow(conversion: Conversion, option: Option, milliseconds: int) -> None:
    if strtol(option.text) == 0:
        conversion.not_needed(option, "0 switches it off")
    else:
        conversion.changed(
            option,
            "slow_request",
            f"{min(milliseconds, MOST_MILLISECONDS)}ms",
            "a request that takes longer is logged while it runs, with the stack of its thread",
        )
