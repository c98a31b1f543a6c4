"""What applications of uWSGI share: caches, locks, options; and how operators reach the server."""

from __future__ import annotations

from lockgate.convert.report import Outcome
from lockgate.convert.uwsgi.conversion import Conversion
from lockgate.convert.uwsgi.options import names
from lockgate.convert.uwsgi.values import is_on, strtol

#: Keys of a cache that Lockgate has, and those without an effect on the application.
CACHE_KEYS = (
    *("name", "items", "maxitems", "max_items", "blocks", "blocksize", "keysize", "key_size"),
    *("bitmap", "purge_lru", "lru", "clear_on_full", "math_initial"),
)
TUNING_KEYS = (
    *("hash", "hashsize", "hash_size", "lastmod", "lazy", "lazy_expire", "sweep_on_full"),
    *("no_expire", "ignore_full"),
)

MODULE = "the application finds it through the module uwsgi, which uwsgi_module adds"


def convert(conversion: Conversion) -> None:
    caches(conversion)
    old_cache(conversion)
    locks(conversion)
    for option in conversion.take_all("master-fifo"):
        conversion.add(option, "master_fifo", option.text)
    if "uwsgi_module" in conversion.settings:
        placeholders(conversion)
    else:
        conversion.report.notes.append(
            "if the application imports uwsgi or uwsgidecorators, set uwsgi_module = true"
        )


def caches(conversion: Conversion) -> None:
    for option in conversion.take_all("cache2"):
        pairs = [pair.strip().partition("=") for pair in option.text.split(",") if pair.strip()]
        kept = [f"{key}={value}" for key, _, value in pairs if key in CACHE_KEYS]
        dropped = [key for key, _, _ in pairs if key not in CACHE_KEYS + TUNING_KEYS]
        given = {key for key, _, _ in pairs}
        if "name" not in given or not given & {"items", "maxitems", "max_items"}:
            conversion.not_supported(option, "uWSGI refuses it: a cache needs name and items")
            continue
        detail = MODULE
        if dropped:
            detail = (
                f"without {', '.join(dropped)}: a cache is in memory, on one host, and lives over "
                f"reloads; {MODULE}"
            )
        outcome = Outcome.CHANGED if dropped else Outcome.MAPPED
        conversion.add(option, "uwsgi_cache", ",".join(kept), detail, outcome)
        need_module(conversion)


def old_cache(conversion: Conversion) -> None:
    """`cache = ITEMS` and `cache-blocksize`: the cache `default`."""
    found = conversion.take_number("cache")
    size = conversion.take_number("cache-blocksize")
    if found is None or not found[1]:
        for unused in (found, size):
            if unused is not None:
                conversion.not_needed(unused[0], "there is no cache")
        return
    option, items = found
    text = f"name=default,items={items}"
    if size is not None and size[1]:
        text += f",blocksize={size[1]}"
        conversion.record(size[0], Outcome.MAPPED, (), f"uwsgi_cache, see {option.place}")
    elif size is not None:
        conversion.not_needed(size[0], "0 means the default")
    conversion.add(option, "uwsgi_cache", text, MODULE)
    need_module(conversion)


def locks(conversion: Conversion) -> None:
    option = conversion.take("locks")
    if option is None:
        return
    number = strtol(option.text)
    if not is_on(option.value) or number < 1:
        conversion.not_needed(option, "lock 0 always exists")
        return
    conversion.mapped(option, "uwsgi_locks", min(number, 1000), MODULE)
    need_module(conversion)


def need_module(conversion: Conversion) -> None:
    conversion.default("uwsgi_module", True, "lets the application import uwsgi")


def placeholders(conversion: Conversion) -> None:
    """The application may read them from `uwsgi.opt`."""
    known = names()
    for option in list(conversion.pending):
        is_own = option.is_own or option.key in conversion.used_placeholders
        if is_own and option.key not in known and not option.missing:
            conversion.pending.remove(option)
            value = f"={option.text}" if option.value else ""
            conversion.add(
                option,
                "uwsgi_opt",
                option.key + value,
                "no option of uWSGI: it is for placeholders and for uwsgi.opt",
            )
