"""Workers and threads."""

from __future__ import annotations

from lockgate.convert.conversion import Conversion
from lockgate.convert.option import CPUS
from lockgate.convert.values import is_on, strtol

#: The most that Lockgate accepts for workers and threads.
MOST = 4096


def convert(conversion: Conversion) -> None:
    number_of_workers(conversion)
    number_of_threads(conversion)
    preload(conversion)


def number_of_workers(conversion: Conversion) -> None:
    option = conversion.take("processes", "workers")
    if option is None:
        conversion.default("workers", 1, "uWSGI's default; auto is one for each CPU")
        return
    if option.template.strip() == CPUS:
        conversion.mapped(option, "workers", "auto", "one for each CPU")
        return
    number = strtol(option.text)
    has_remark = not option.text.strip().isdecimal()
    if number < 1:
        conversion.changed(
            option, "workers", 1, f"uWSGI reads {number}: a server needs at least one worker"
        )
    elif number > MOST:
        conversion.changed(option, "workers", MOST, f"{MOST} is the most")
    elif has_remark:
        conversion.changed(option, "workers", number, f"uWSGI reads {number}")
    else:
        conversion.mapped(option, "workers", number)


def number_of_threads(conversion: Conversion) -> None:
    found = conversion.take_number("threads")
    greenlets = conversion.take_number("gevent")
    asynchronous = conversion.take_number("async")
    if found is not None:
        option, number = found
        if number > MOST:
            conversion.changed(option, "threads", MOST, f"{MOST} is the most")
        elif not option.text.strip().isdecimal():
            conversion.changed(option, "threads", max(number, 1), f"uWSGI reads {number}")
        elif number == 0:
            conversion.mapped(option, "threads", 1, "0 means that there is one")
        else:
            conversion.mapped(option, "threads", number)
    for loop in (greenlets, asynchronous):
        if loop is None:
            continue
        option, number = loop
        if number < 1 or not is_on(option.value):
            conversion.not_needed(option, "it is switched off")
        elif found is not None:
            conversion.not_supported(option, "requests run on threads; see threads")
        else:
            conversion.changed(
                option,
                "threads",
                "auto",
                f"requests run on threads and not on {option.key}: remove monkey patching; "
                "threads that wait are cheap, so that auto or a number up to a few hundred does "
                "for many waiting requests",
            )
    conversion.default(
        "threads",
        1,
        "uWSGI runs one request at a time in each worker unless threads is set; if the "
        "application is safe with threads, remove this line: more requests can then wait for a "
        "database at the same time",
    )


def preload(conversion: Conversion) -> None:
    option = conversion.take("lazy-apps", "lazy")
    if option is None:
        conversion.default(
            "preload",
            True,
            "uWSGI loads the application once and forks the workers, unless lazy-apps is set",
        )
    elif is_on(option.value):
        conversion.mapped(option, "preload", False)
    else:
        conversion.mapped(option, "preload", True)
