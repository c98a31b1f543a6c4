"""When workers are replaced."""

from __future__ import annotations

from lockgate.convert.conversion import Conversion
from lockgate.convert.report import Outcome

#: The least that Lockgate accepts as a limit of memory, in MiB.
LEAST_MEMORY = 16
MOST_MEMORY = 1 << 30


def convert(conversion: Conversion) -> None:
    requests(conversion)
    age(conversion)
    memory(conversion)


def requests(conversion: Conversion) -> None:
    found = conversion.take_number("max-requests")
    delta = conversion.take_number("max-requests-delta")
    if found is not None:
        option, number = found
        detail = "workers are replaced one at a time, when the replacement is ready"
        if number > 1_000_000_000:
            conversion.changed(option, "max_requests", 1_000_000_000, "that is the most")
        elif number == 0:
            conversion.not_needed(option, "0 switches it off")
        else:
            conversion.mapped(option, "max_requests", number, detail)
    if delta is not None:
        option, number = delta
        workers = conversion.settings.value("workers")
        most = number * workers if isinstance(workers, int) else number
        if not number or "max_requests" not in conversion.settings:
            conversion.not_needed(option, "nothing is added")
        else:
            conversion.changed(
                option,
                "max_requests_jitter",
                min(most, 1_000_000_000),
                "uWSGI adds the number of the worker times this; Lockgate adds a random number up "
                "to the jitter",
            )


def age(conversion: Conversion) -> None:
    found = conversion.take_number("max-worker-lifetime")
    if found is not None:
        option, number = found
        if number == 0:
            conversion.not_needed(option, "0 switches it off")
        else:
            conversion.mapped(option, "max_worker_age", min(number, 365 * 86400))
    for option in conversion.take_all("max-worker-lifetime-delta"):
        conversion.not_needed(option, "workers of the same age are replaced one at a time")


def memory(conversion: Conversion) -> None:
    """In MiB; a hard limit must exceed the soft one."""
    soft = conversion.take_number("reload-on-rss")
    proportional = conversion.take_number("reload-on-pss")
    unique = conversion.take_number("reload-on-uss")
    hard = conversion.take_number("evil-reload-on-rss")
    soft_limit = 0
    for found in (soft, proportional, unique):
        if found is None:
            continue
        option, number = found
        if number == 0:
            conversion.not_needed(option, "0 switches it off")
            continue
        if soft_limit:
            conversion.not_supported(option, "one measure is possible; see worker_memory_measure")
            continue
        soft_limit = min(max(number, LEAST_MEMORY), MOST_MEMORY - 1)
        if option.key != "reload-on-rss":
            conversion.settings.put(
                "worker_memory_measure", "pss", *conversion.comments(option, Outcome.MAPPED, "")
            )
        value = f"{soft_limit}MiB"
        if option.key == "reload-on-uss":
            detail = "pss is measured, which is close to uss unless much memory is shared"
            conversion.changed(option, "max_worker_memory", value, detail)
        elif number < LEAST_MEMORY:
            conversion.changed(option, "max_worker_memory", value, f"{value} is the least")
        else:
            detail = "uWSGI looks after each request; Lockgate once per second"
            conversion.mapped(option, "max_worker_memory", value, detail)
    if hard is None:
        return
    option, number = hard
    if number == 0:
        conversion.not_needed(option, "0 switches it off")
        return
    limit = min(max(number, soft_limit + 1, LEAST_MEMORY), MOST_MEMORY)
    detail = "the worker has graceful_timeout to finish its requests; uWSGI kills it at once"
    if limit != number:
        detail = f"it must exceed max_worker_memory; {detail}"
    conversion.changed(option, "max_worker_memory_hard", f"{limit}MiB", detail)
