"""What `manage.py runserver` does beside serving: static files, system checks, migrations."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

Application = Callable[..., Any]


class ChecksFailed(Exception):
    """Django's system checks have found errors; the text is Django's own."""


def prepare(settings_module: str | None) -> None:
    """As manage.py: names the settings, unless the environment does."""
    if settings_module:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module)


def served(application: Application) -> Application:
    """The application with the static files of `django.contrib.staticfiles`, if DEBUG is on."""
    from django.conf import settings

    if not settings.DEBUG or "django.contrib.staticfiles" not in settings.INSTALLED_APPS:
        return application
    from django.contrib.staticfiles.handlers import StaticFilesHandler

    handler: Application = StaticFilesHandler(application)
    return handler


def check() -> list[str]:
    """Runs the system checks, and returns their warnings. Raises ChecksFailed with errors."""
    from django.core.management import call_command
    from django.core.management.base import SystemCheckError

    output = io.StringIO()
    try:
        call_command("check", stdout=output, stderr=output, no_color=True)
    except SystemCheckError as error:
        raise ChecksFailed(str(error)) from None
    text = output.getvalue().strip()
    is_clean = "no issues" in text and "\n" not in text
    return [] if is_clean else [text]


def unapplied_migrations() -> list[str]:
    """Notices about migrations that the database lacks, in Django's words. A database that cannot
    be reached is a notice, too."""
    from django.core.management.base import BaseCommand
    from django.db import DatabaseError, connections

    output = io.StringIO()
    try:
        BaseCommand(stdout=output, no_color=True).check_migrations()
    except DatabaseError as error:
        return [f"the database cannot be reached: {str(error).strip()}"]
    finally:
        connections.close_all()
    text = output.getvalue().strip()
    return [text] if text else []
