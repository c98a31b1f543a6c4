"""Rules for databases: whether they answer, and accept a connection for each thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass

from lockgate.check import paragraphs, places
from lockgate.check.finding import WARNING, Finding, Place, Rule
from lockgate.check.rules import of_django
from lockgate.check.rules.of_flask import instances
from lockgate.check.settings import Settings

SECTION = paragraphs.page("docs/threads.md", "connections-to-a-database")

CONNECTIONS = Rule(
    "database-connections",
    WARNING,
    SECTION,
    "The database accepts as many connections as all threads of all workers may hold.",
)
UNREACHABLE = Rule(
    "database-unreachable",
    WARNING,
    paragraphs.checking("connections"),
    "The database of the settings answers.",
)

RULES = (CONNECTIONS, UNREACHABLE)

#: By the name of the database: how many connections it accepts from users that are not superusers.
LIMITS = {
    "postgresql": (
        "SELECT sum(CASE WHEN name = 'max_connections' THEN setting::int ELSE -setting::int END) "
        "FROM pg_settings WHERE name IN ('max_connections', 'superuser_reserved_connections', "
        "'reserved_connections')"
    ),
    "mysql": "SELECT @@max_connections",
    "mariadb": "SELECT @@max_connections",
}


@dataclass(frozen=True)
class Database:
    """A database that the application has configured."""

    name: str
    #: Connections that one worker may hold, if a pool limits them.
    pool: int | None
    place: Place | None
    #: Connects, and returns how many connections the server accepts. Raises what its driver raises.
    limit: Callable[[], int]


def needed(settings: Settings, pool: int | None) -> int:
    """Connections of all workers. One thread of a worker waits for its sockets, and may keep what
    it has opened; with one thread there is no other."""
    threads = settings.threads + (settings.threads > 1)
    return settings.workers * (threads if pool is None else min(pool, threads))


def check(settings: Settings, wait: float) -> Iterator[Finding]:
    for database in (*of_the_django_settings(), *of_engines()):
        yield from one(database, settings, wait)


def one(database: Database, settings: Settings, wait: float) -> Iterator[Finding]:
    # A host that does not answer would hold up the whole check.
    thread = ThreadPoolExecutor(1)
    try:
        limit = thread.submit(database.limit).result(wait)
    except Late:
        text = f"the database {database.name} does not answer within {wait:g} s"
        yield Finding(UNREACHABLE, text, database.place)
        return
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        text = f"the database {database.name} does not answer: {reason[0]}"
        yield Finding(UNREACHABLE, text, database.place)
        return
    finally:
        thread.shutdown(wait=False)
    wanted = needed(settings, database.pool)
    if wanted > limit:
        text = (
            f"{settings.workers} workers with {settings.threads} threads may need {wanted} "
            f"connections to {database.name}, which accepts {limit}"
        )
        yield Finding(CONNECTIONS, text, database.place)


def of_the_django_settings() -> Iterator[Database]:
    found = of_django.configured()
    if found is None:
        return
    from django.db import connections

    for alias in connections:
        vendor = connections[alias].vendor
        if vendor not in LIMITS:
            continue

        def limit(alias: str = alias, vendor: str = vendor) -> int:
            connection = connections[alias]
            try:
                with connection.cursor() as cursor:
                    cursor.execute(LIMITS[vendor])
                    return int(cursor.fetchone()[0])
            finally:
                connection.close()

        place = of_django.place(found, "DATABASES")
        pool = of_django.pool_size(found.DATABASES[alias])
        yield Database(repr(alias), pool, place, limit)


def of_engines() -> Iterator[Database]:
    for engine in instances("sqlalchemy.engine", "Engine"):
        if engine.dialect.name not in LIMITS:
            continue

        def limit(engine: object = engine) -> int:
            with engine.connect() as connection:  # type: ignore[attr-defined]
                text = LIMITS[engine.dialect.name]  # type: ignore[attr-defined]
                return int(connection.exec_driver_sql(text).scalar())

        overflow = getattr(engine.pool, "_max_overflow", -1)
        pool = engine.pool.size() + overflow if overflow >= 0 else None
        files = places.own_files()
        place = places.called(files, "create_engine") or places.called(files, "SQLAlchemy")
        yield Database(str(engine.url.database), pool, place, limit)
