"""What is around an application under `lockgate dev`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lockgate.dev.options import Options

Application = Callable[..., Any]


def wrap(application: Application, options: Options) -> Application:
    """The application in the middleware that the options ask for; called once in each worker, when
    the application has loaded."""
    return application


def wrap_error_page(application: Application, options: Options) -> Application:
    """As `wrap`, for the application that answers in place of one that did not load: only what its
    pages need to reload themselves."""
    return application
