"""Rules for Pyramid's settings in production."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from lockgate.check import paragraphs, places
from lockgate.check.finding import WARNING, Finding, Place, Rule
from lockgate.check.rules.of_flask import instances
from lockgate.check.settings import Settings, named

DEBUG = Rule(
    "pyramid-debug",
    WARNING,
    paragraphs.checking("debugging"),
    "`pyramid.debug_…`, `pyramid.reload_…` and pyramid_debugtoolbar are off.",
)

RULES = (DEBUG,)

#: In `registry.settings`, where variables such as PYRAMID_DEBUG_ALL count as well.
SWITCHES = (
    "debug_all",
    "debug_authorization",
    "debug_notfound",
    "debug_routematch",
    "reload_all",
    "reload_templates",
    "reload_assets",
)


def routers() -> list[Any]:
    return instances("pyramid.router", "Router")


def check(settings: Settings) -> Iterator[Finding]:
    file = named(settings["app"]).paste
    for router in routers():
        found = router.registry.settings or {}
        on = [name for name in SWITCHES if found.get(f"pyramid.{name}") is True]
        on += [name for name in ("debugtoolbar.enabled",) if found.get(name) is True]
        if on:
            # `debug_all` switches the other ones on as well.
            text = f"{on[0]} is on"
            place = line_of(file, (*on, "pyramid_debugtoolbar"))
            place = place or places.constant(places.own_files(), f"pyramid.{on[0]}")
            yield Finding(DEBUG, text, place)


def line_of(file: str | None, names: tuple[str, ...]) -> Place | None:
    """The first line of an `.ini` that names one of them."""
    if file is None:
        return None
    with open(file, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            is_comment = line.lstrip().startswith(("#", ";"))
            if not is_comment and any(name in line for name in names):
                return Place(file, number)
    return None


def paths() -> Iterator[str]:
    """Paths of routes without variables, but not those of the toolbar."""
    for router in routers():
        package = sys.modules.get(str(router.registry.package_name).partition(".")[0])
        if not places.is_own(getattr(package, "__file__", None) or "<unknown>"):
            continue
        for route in router.routes_mapper.get_routes() if router.routes_mapper else ():
            if not any(letter in route.pattern for letter in "{:*"):
                yield f"/{route.pattern.lstrip('/')}"
