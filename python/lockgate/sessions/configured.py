"""`[session]` of the server's configuration: the middleware around each application."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lockgate.sessions.guard import GuardedStore
from lockgate.sessions.manager import open_store
from lockgate.sessions.middleware import Application, SessionMiddleware


def wrapper(store: str | None, options: dict[str, Any]) -> Callable[[Application], Application]:
    """Wraps applications, which share one store, in `SessionMiddleware` with these options."""
    guarded = None if store is None else GuardedStore(open_store(store))
    return partial(SessionMiddleware, store=guarded, **options)
