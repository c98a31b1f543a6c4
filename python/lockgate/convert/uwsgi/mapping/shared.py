"""What applications of uWSGI share: caches, locks, options; and how operators reach the server."""

from __future__ import annotations

import os
import re

from lockgate.convert.conversion import Conversion
from lockgate.convert.report import Outcome
from lockgate.convert.uwsgi.imports import first_import
from lockgate.convert.uwsgi.options import names
from lockgate.convert.values import is_on, strtol

#: Keys of a cache that Lockgate has, and those without an effect on the application.
CACHE_KEYS = (
    *("name", "items", "maxitems", "max_items", "blocks", "blocksize", "keysize", "key_size"),
    *("bitmap", "purge_lru", "lru", "clear_on_full", "math_initial"),
)
CACHE_SWITCHES = ("bitmap", "purge_lru", "lru", "clear_on_full")
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
    imports(conversion)
    if "uwsgi_module" in conversion.settings:
        placeholders(conversion)


def imports(conversion: Conversion) -> None:
    """The application needs `uwsgi_module` if one of its files imports uWSGI's modules."""
    has_app = "app" in conversion.settings
    chdir = str(conversion.settings.value("chdir") or "")
    directory = os.path.join(conversion.machine.directory, chdir)
    found = first_import(directory) if has_app and os.path.isdir(directory) else None
    if found is not None:
        file, line, module = found
        where = f"{file} line {line} imports {module}"
        conversion.default("uwsgi_module", True, where)
        conversion.report.notes.append(f"{where}: docs/uwsgi-module.md has what there is of it")
    elif "uwsgi_module" not in conversion.settings:
        conversion.report.notes.append(
            "if the application imports uwsgi or uwsgidecorators, set uwsgi_module = true"
        )


def caches(conversion: Conversion) -> None:
    for option in conversion.take_all("cache2"):
        pairs = [pair.strip().partition("=") for pair in option.text.split(",") if pair.strip()]
        kept = [f"{key}={cache_value(key, value)}" for key, _, value in pairs if key in CACHE_KEYS]
        dropped = [key for key, _, _ in pairs if key not in CACHE_KEYS + TUNING_KEYS]
        given = {key for key, _, _ in pairs}
        if "name" not in given or not given & {"items", "maxitems", "max_items"}:
            conversion.not_supported(option, "uWSGI refuses it: a cache needs name and items")
            continue
        name = next(value.strip() for key, _, value in pairs if key == "name")
        caches = conversion.settings.value("uwsgi_cache")
        taken = [str(text) for text in caches] if isinstance(caches, list) else []
        if not re.fullmatch(r"\S{1,64}", name) or any(f"name={name}," in f"{t}," for t in taken):
            conversion.not_supported(option, "a cache needs a name of its own, without spaces")
            continue
        if not fits({key: strtol(value) for key, _, value in pairs}):
            conversion.not_supported(option, "it is no size that a cache can have: set uwsgi_cache")
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


def cache_value(key: str, value: str) -> str:
    """A value as uWSGI reads it."""
    return value.strip() if key in ("name", *CACHE_SWITCHES) else str(strtol(value))


def fits(numbers: dict[str, int]) -> bool:
    """Whether Lockgate accepts a cache of this size."""
    items = next(numbers[key] for key in ("items", "maxitems", "max_items") if key in numbers)
    blocks = numbers.get("blocks", items)
    size = numbers.get("blocksize", 65536)
    key = numbers.get("keysize", numbers.get("key_size", 2048))
    return (
        1 <= items <= blocks <= 1 << 24
        and 1 <= size <= 1 << 30
        and 1 <= key <= 65535
        and items * key + blocks * size <= 1 << 36
    )


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
    if not fits({"items": items, "blocksize": size[1] if size and size[1] else 65536}):
        conversion.not_supported(option, "it is no size that a cache can have: set uwsgi_cache")
        if size is not None:
            conversion.not_needed(size[0], "there is no cache")
        return
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
