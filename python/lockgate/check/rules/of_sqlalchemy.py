"""Rules for engines of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.check import paragraphs, places
from lockgate.check.finding import WARNING, Finding, Rule
from lockgate.check.rules.of_flask import instances
from lockgate.check.settings import Settings

POOL = Rule(
    "sqlalchemy-pool-small",
    WARNING,
    paragraphs.page("docs/threads.md", "connections-to-a-database"),
    "`pool_size` + `max_overflow` is at least the number of threads.",
)
ECHO = Rule(
    "sqlalchemy-echo",
    WARNING,
    paragraphs.checking("debugging"),
    "`echo` is off: it logs each statement with its values.",
)

RULES = (POOL, ECHO)


def check(settings: Settings) -> Iterator[Finding]:
    files = places.own_files()
    for engine in instances("sqlalchemy.engine", "Engine"):
        place = places.called(files, "create_engine") or places.called(files, "SQLAlchemy")
        if engine.echo:
            yield Finding(ECHO, f"echo is on in {engine!r}", place)
        pool = engine.pool
        overflow = getattr(pool, "_max_overflow", None)
        # SQLite is a file: its calls do not wait for a network, so that few threads are added.
        if overflow is None or overflow < 0 or engine.dialect.name == "sqlite":
            continue
        most = pool.size() + overflow
        if most < settings.threads:
            text = (
                f"{engine!r} has at most {most} connections, and a worker {settings.threads} "
                "threads (setting: threads)"
            )
            yield Finding(POOL, text, place)
