"""The request that a thread runs now, for functions of `uwsgi` that have no argument for it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

#: Prefix of the keys of environ in which log variables are, for `%({uwsgi.logvar.NAME}e)s`.
LOG_VARIABLE = "uwsgi.logvar."


class Current(threading.local):
    """The request of this thread. The server forgets the environ at the end of the request."""

    environ: Environ | None = None
    number: int = 0


current = Current()
_numbers = itertools.count(1)


def environ() -> Environ:
    """The environ of this thread's request.

    Raises:
        RuntimeError: on a thread that runs none.
    """
    if current.environ is None:
        message = "this thread runs no request"
        raise RuntimeError(message)
    return current.environ


def wrap(application: Application) -> Application:
    """The application, which remembers its request for the functions of `uwsgi`."""

    def remember(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        current.environ = environ
        current.number = next(_numbers)
        return application(environ, start_response)

    return remember
