"""What is around an application under `lockgate dev`.

From the outside: numbers of SQL statements, the script that loads pages again, Werkzeug's debugger,
the validator. Each is there only if an option asks for it, except the numbers.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from lockgate.dev.middleware.messages import Messages
from lockgate.dev.middleware.pin_attempts import PinAttempts
from lockgate.dev.middleware.statements import CountedStatements
from lockgate.dev.options import Options

Application = Callable[..., Any]


def wrap(
    application: Application, options: Options, pin_attempts: PinAttempts | None = None
) -> Application:
    """The application in the middleware that the options ask for; called once in each worker, when
    the application has loaded. With `refresh`, the pages of other versions load themselves again
    from now on. `pin_attempts` counts wrong PINs of the debugger over reloads."""
    messages = Messages(options.colour)
    if options.validate:
        from lockgate.dev.middleware.validation import validate

        application = validate(application, messages)
    if options.debugger:
        from lockgate.dev.middleware.debugger import Debugger, Unavailable

        try:
            application = Debugger(application, messages, pin_attempts or PinAttempts())
        except Unavailable as error:
            messages.say(str(error))
    return CountedStatements(refreshed(application, options, messages))


def wrap_error_page(application: Application, options: Options) -> Application:
    """As `wrap`, for an application that answers with the page of an error, in place of one that
    did not load or has raised an exception: only what its pages need to load themselves again."""
    return refreshed(application, options, Messages(options.colour), is_error_page=True)


def refreshed(
    application: Application, options: Options, messages: Messages, *, is_error_page: bool = False
) -> Application:
    if not options.refresh:
        return application
    from lockgate.dev.middleware.refresh import Refresh, announce

    generation = options.generation or own_generation()
    try:
        announce(generation)
    except RuntimeError as error:
        # Without `push = true` nothing holds the event streams.
        messages.say(f"Pages do not load themselves again: {error}")
        return application
    return Refresh(application, generation, messages, is_error_page=is_error_page)


@lru_cache(maxsize=1)
def generation_of(process: int) -> str:
    return secrets.token_hex(6)


def own_generation() -> str:
    """Identifies the version that this process has loaded: a process loads once."""
    return generation_of(os.getpid())
