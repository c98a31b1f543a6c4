"""Rules for Django's settings in production."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from lockgate.check import paragraphs, places
from lockgate.check.finding import ERROR, WARNING, Finding, Paragraph, Place, Rule
from lockgate.check.rules.secrets import weakness
from lockgate.check.settings import Settings

CHECKS = Paragraph(
    "Django, System check framework", "https://docs.djangoproject.com/en/stable/topics/checks/"
)

DEBUG = Rule("django-debug", WARNING, paragraphs.checking("debugging"), "`DEBUG` is off.")
WEAK_KEY = Rule(
    "django-secret-key-weak",
    WARNING,
    paragraphs.checking("keys"),
    "`SECRET_KEY` is random and has at least 16 characters.",
)
ANY_HOST = Rule(
    "django-any-host",
    WARNING,
    paragraphs.checking("hosts"),
    "`ALLOWED_HOSTS` names the hosts, and has no `*`.",
)
NO_HOST = Rule(
    "django-no-host",
    ERROR,
    paragraphs.checking("hosts"),
    "`ALLOWED_HOSTS` has a name if `DEBUG` is off: else each request gets 400.",
)
COOKIE = Rule(
    "django-cookie",
    WARNING,
    paragraphs.checking("cookies"),
    "`SESSION_COOKIE_HTTPONLY` is on, and over HTTPS `SESSION_COOKIE_SECURE` and "
    "`CSRF_COOKIE_SECURE`, too.",
)
SESSIONS = Rule(
    "django-sessions-per-process",
    WARNING,
    paragraphs.checking("sessions"),
    "Sessions are not in a cache that each worker has for itself.",
)
SYSTEM_CHECK = Rule("django-system-check", ERROR, CHECKS, "Django's system checks find no error.")
POOL = Rule(
    "django-pool-small",
    WARNING,
    paragraphs.page("docs/threads.md", "connections-to-a-database"),
    "A pool of connections has one for each thread.",
)

RULES = (DEBUG, WEAK_KEY, ANY_HOST, NO_HOST, COOKIE, SESSIONS, SYSTEM_CHECK, POOL)

LOCAL_MEMORY = "django.core.cache.backends.locmem.LocMemCache"


def configured() -> Any:
    """Django's settings, or None."""
    conf = sys.modules.get("django.conf")
    return conf.settings if conf is not None and conf.settings.configured else None


def place(found: Any, name: str) -> Place | None:
    """Where a setting is assigned: in the module of the settings, or one that it imports."""
    module = sys.modules.get(getattr(found, "SETTINGS_MODULE", None) or "")
    file = getattr(module, "__file__", None)
    at = places.assignment([file] if file else [], {name})
    return at or places.assignment(places.own_files(), {name}) or (Place(file, 1) if file else None)


def check(settings: Settings) -> Iterator[Finding]:
    found = configured()
    if found is None:
        return
    if found.DEBUG:
        yield Finding(DEBUG, "DEBUG is on", place(found, "DEBUG"))
    if wrong := weakness(found.SECRET_KEY):
        yield Finding(WEAK_KEY, f"SECRET_KEY {wrong}", place(found, "SECRET_KEY"))
    if "*" in found.ALLOWED_HOSTS:
        text = "ALLOWED_HOSTS has *: a client chooses the host of links, as in password mails"
        yield Finding(ANY_HOST, text, place(found, "ALLOWED_HOSTS"))
    if not found.ALLOWED_HOSTS and not found.DEBUG:
        text = "ALLOWED_HOSTS is empty and DEBUG is off"
        yield Finding(NO_HOST, text, place(found, "ALLOWED_HOSTS"))
    yield from cookies(found, settings)
    yield from sessions(found, settings)
    yield from pools(found, settings)
    yield from system_checks()


def cookies(found: Any, settings: Settings) -> Iterator[Finding]:
    if not found.SESSION_COOKIE_HTTPONLY:
        text = "SESSION_COOKIE_HTTPONLY is off: scripts can read the session's cookie"
        yield Finding(COOKIE, text, place(found, "SESSION_COOKIE_HTTPONLY"))
    if not settings.is_https and not found.SECURE_SSL_REDIRECT:
        return
    uses = {
        "SESSION_COOKIE_SECURE": "django.contrib.sessions.middleware.SessionMiddleware",
        "CSRF_COOKIE_SECURE": "django.middleware.csrf.CsrfViewMiddleware",
    }
    for name, middleware in uses.items():
        if middleware in found.MIDDLEWARE and not getattr(found, name):
            yield Finding(COOKIE, f"clients use HTTPS, and {name} is off", place(found, name))


def sessions(found: Any, settings: Settings) -> Iterator[Finding]:
    if settings.workers < 2 or found.SESSION_ENGINE != "django.contrib.sessions.backends.cache":
        return
    cache = found.CACHES.get(found.SESSION_CACHE_ALIAS, {})
    if cache.get("BACKEND") == LOCAL_MEMORY:
        text = f"sessions are in a cache of each of the {settings.workers} workers"
        yield Finding(SESSIONS, text, place(found, "SESSION_ENGINE"))


def pools(found: Any, settings: Settings) -> Iterator[Finding]:
    for alias, database in found.DATABASES.items():
        most = pool_size(database)
        if most is None:
            continue
        if most < settings.threads:
            text = (
                f"the pool of {alias!r} has at most {most} connections, and a worker "
                f"{settings.threads} threads (setting: threads)"
            )
            yield Finding(POOL, text, place(found, "DATABASES"))


def pool_size(database: Any) -> int | None:
    """The most connections of the pool of a database, if it has one."""
    pool = (database.get("OPTIONS") or {}).get("pool")
    if not pool:
        return None
    # psycopg_pool: without max_size, min_size counts, which is 4.
    given = pool if isinstance(pool, dict) else {}
    return int(given.get("max_size") or given.get("min_size") or 4)


def system_checks() -> Iterator[Finding]:
    from django.core import checks

    for message in checks.run_checks():
        if message.level >= checks.ERROR and not message.is_silenced():
            yield Finding(SYSTEM_CHECK, f"{message.id}: {message.msg}", place_of(message.obj))


def place_of(obj: Any) -> Place | None:
    """Of a class or a function that a check is about."""
    try:
        file = inspect.getsourcefile(obj)
        return Place(file, inspect.getsourcelines(obj)[1]) if file else None
    except (TypeError, OSError):
        return None


def host() -> str | None:
    """A host that ALLOWED_HOSTS accepts."""
    found = configured()
    for allowed in found.ALLOWED_HOSTS if found is not None else ():
        return "localhost" if allowed == "*" else str(allowed).lstrip(".")
    return None


def paths() -> Iterator[str]:
    """Paths without variables."""
    if configured() is None or "django.urls" not in sys.modules:
        return
    from django.urls import get_resolver

    yield from below(get_resolver().url_patterns, "/")


def below(patterns: Any, prefix: str) -> Iterator[str]:
    for pattern in patterns:
        part = fixed(pattern.pattern)
        if part is None:
            continue
        if hasattr(pattern, "url_patterns"):
            yield from below(pattern.url_patterns, prefix + part)
        else:
            yield prefix + part


def fixed(pattern: Any) -> str | None:
    """The text of a pattern without variables."""
    text = str(pattern)
    if hasattr(pattern, "regex") and type(pattern).__name__ == "RegexPattern":
        text = text.removeprefix("^").removesuffix("$").removesuffix(r"\Z")
        return text if re.fullmatch(r"[\w/-]*", text) else None
    return None if "<" in text else text
