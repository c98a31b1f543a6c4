"""Rules for Flask's configuration in production."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

from lockgate.check import paragraphs, places
from lockgate.check.finding import ERROR, WARNING, Finding, Rule
from lockgate.check.rules.secrets import weakness
from lockgate.check.settings import Settings

DEBUG = Rule(
    "flask-debug", WARNING, paragraphs.checking("debugging"), "`debug` and `TESTING` are off."
)
DEBUGGER = Rule(
    "werkzeug-debugger",
    ERROR,
    paragraphs.checking("debugging"),
    "Werkzeug's debugger is not in the application: it runs the code that a client sends.",
)
NO_KEY = Rule(
    "flask-secret-key-missing",
    ERROR,
    paragraphs.checking("keys"),
    "An application that uses `session` or `flash` has a `SECRET_KEY`.",
)
WEAK_KEY = Rule(
    "flask-secret-key-weak",
    WARNING,
    paragraphs.checking("keys"),
    "`SECRET_KEY` is random and has at least 16 characters.",
)
COOKIE = Rule(
    "flask-cookie",
    WARNING,
    paragraphs.checking("cookies"),
    "`SESSION_COOKIE_HTTPONLY` is on, and over HTTPS `SESSION_COOKIE_SECURE`, too.",
)

RULES = (DEBUG, DEBUGGER, NO_KEY, WEAK_KEY, COOKIE)


def instances(module: str, name: str) -> list[Any]:
    """All objects of a class whose module has been imported."""
    kind = getattr(sys.modules.get(module), name, None)
    if not isinstance(kind, type):
        return []
    # Proxies such as Flask's `current_app` answer `isinstance` for their target, or raise.
    return [one for one in gc.get_objects() if issubclass(type(one), kind)]


def uses_session() -> bool:
    """Whether an own module has imported what needs the key, or an extension that does is there."""
    flask = sys.modules["flask"]
    needed = [flask.session, flask.flash]
    if any(name in sys.modules for name in ("flask_login", "flask_wtf")):
        return True
    return any(
        any(value is one for one in needed)
        for module in places.own_modules()
        for value in list(vars(module).values())
    )


def check(settings: Settings) -> Iterator[Finding]:
    for _ in instances("werkzeug.debug", "DebuggedApplication"):
        place = places.called(places.own_files(), "DebuggedApplication")
        yield Finding(DEBUGGER, "Werkzeug's debugger is around the application", place)
    for app in instances("flask", "Flask"):
        yield from one(app, settings)


def one(app: Any, settings: Settings) -> Iterator[Finding]:
    files = places.own_files()
    at = places.of_name(app) or places.called(files, "Flask")

    def place(*names: str) -> Any:
        return places.assignment(files, set(names)) or at

    if app.debug:
        yield Finding(DEBUG, f"debug is on in {app!r}", place("debug", "DEBUG"))
    if app.testing:
        yield Finding(DEBUG, f"TESTING is on in {app!r}", place("testing", "TESTING"))
    key = app.config.get("SECRET_KEY")
    has_session = uses_session()
    key_names = ("SECRET_KEY", "secret_key")
    if not key and has_session:
        yield Finding(NO_KEY, f"{app!r} has no SECRET_KEY, and uses its session", at)
    if key and (wrong := weakness(key)):
        yield Finding(WEAK_KEY, f"SECRET_KEY {wrong}", place(*key_names))
    if not key or not has_session:
        return
    if not app.config.get("SESSION_COOKIE_HTTPONLY", True):
        text = "SESSION_COOKIE_HTTPONLY is off: scripts can read the session's cookie"
        yield Finding(COOKIE, text, place("SESSION_COOKIE_HTTPONLY"))
    if settings.is_https and not app.config.get("SESSION_COOKIE_SECURE"):
        text = "the server has HTTPS, and SESSION_COOKIE_SECURE is off"
        yield Finding(COOKIE, text, place("SESSION_COOKIE_SECURE"))


def host() -> str | None:
    """A host that TRUSTED_HOSTS accepts."""
    for app in instances("flask", "Flask"):
        for trusted in app.config.get("TRUSTED_HOSTS") or ():
            return str(trusted).lstrip(".")
    return None


def paths() -> Iterator[str]:
    """Paths of GET without variables."""
    for app in instances("flask", "Flask"):
        for rule in app.url_map.iter_rules():
            if "GET" in (rule.methods or ()) and not rule.arguments and not rule.websocket:
                yield rule.rule
