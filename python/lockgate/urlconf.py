"""The URLconf of a Django application: `urls.py`, and with it the views.

Django imports it at the first request. A mistake in it would be found when the new workers serve,
so it is imported with the application.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

#: Middleware around an application is looked through up to this depth.
MOST_LAYERS = 8


def name_of(application: Callable[..., Any]) -> str | None:
    """The module that the settings name; None if the application is not one of Django."""
    if not is_django(application):
        return None
    settings = importlib.import_module("django.conf").settings
    return getattr(settings, "ROOT_URLCONF", None)


def load() -> None:
    """Imports it. Raises what its import raises, and Django's error if it has no patterns."""
    importlib.import_module("django.urls").get_resolver().url_patterns  # noqa: B018


def is_django(application: Any) -> bool:
    """Whether it is an application of Django, perhaps in middleware such as WhiteNoise."""
    handlers = sys.modules.get("django.core.handlers.wsgi")
    if handlers is None:
        return False
    for _ in range(MOST_LAYERS):
        if isinstance(application, handlers.WSGIHandler):
            return True
        inner = (getattr(application, name, None) for name in ("application", "app", "wsgi_app"))
        application = next(filter(callable, inner), None)
    return False
