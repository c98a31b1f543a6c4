"""Statements of SQL in each request: how many, for how long, and how many had the same text.

Django and SQLAlchemy report them. Their hooks are set once in a process, when the library is there,
and count in the request whose context runs the statement. The application is not changed.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from time import perf_counter_ns
from typing import Any

Application = Callable[..., Any]

#: Where the access log finds the numbers: `STATEMENTS` of lockgate-observe.
ENVIRON_KEY = "lockgate.dev.statements"

#: Texts beyond this number do not count as repeated.
MOST_TEXTS = 10_000

#: Statements that only mark a transaction are not counted, so that all libraries count alike.
MARKS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


class Tally:
    """What one request has executed. Threads that the request has started may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: set[str] = set()
        self._count = 0
        self._repeated = 0
        self._nanoseconds = 0

    def add(self, text: str, nanoseconds: int) -> None:
        if text.lstrip()[:9].upper().startswith(MARKS):
            return
        with self._lock:
            self._count += 1
            self._nanoseconds += nanoseconds
            if text in self._texts:
                self._repeated += 1
            elif len(self._texts) < MOST_TEXTS:
                self._texts.add(text)

    def __str__(self) -> str:
        """The number of statements, their microseconds, and how many repeated an earlier text."""
        with self._lock:
            return f"{self._count} {self._nanoseconds // 1000} {self._repeated}"


_current: ContextVar[Tally | None] = ContextVar("lockgate_dev_statements", default=None)


class CountedStatements:
    """An application whose requests have their numbers in environ."""

    def __init__(self, application: Application) -> None:
        self._application = application
        watch()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        watch()
        tally = Tally()
        _current.set(tally)
        try:
            result = self._application(environ, start_response)
        finally:
            environ[ENVIRON_KEY] = str(tally)
        wrapper = environ.get("wsgi.file_wrapper")
        is_file = isinstance(wrapper, type) and isinstance(result, wrapper)
        if is_file or isinstance(result, (list, tuple)):
            return result
        return CountedBody(result, tally, environ)


class CountedBody:
    """A body during which the application may execute more statements."""

    def __init__(self, body: Any, tally: Tally, environ: dict[str, Any]) -> None:
        self._body = body
        self._tally = tally
        self._environ = environ
        self._pieces: Iterator[bytes] | None = None

    def __iter__(self) -> CountedBody:
        return self

    def __next__(self) -> bytes:
        if self._pieces is None:
            self._pieces = iter(self._body)
        try:
            return next(self._pieces)
        finally:
            self._environ[ENVIRON_KEY] = str(self._tally)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


_watched: set[str] = set()
_watching = threading.Lock()


def watch() -> None:
    """Sets the hooks of the libraries that have been imported since the last call."""
    for module, hook in HOOKS.items():
        if module in sys.modules and module not in _watched:
            with _watching:
                if module not in _watched:
                    hook()
                    _watched.add(module)


def watch_django() -> None:
    signals = importlib.import_module("django.db.backends.signals")
    # Each thread has connections of its own; this is called for every one of them.
    signals.connection_created.connect(
        on_connection_created, weak=False, dispatch_uid="lockgate.dev"
    )


def on_connection_created(connection: Any, **_: Any) -> None:
    if count_in_django not in connection.execute_wrappers:
        connection.execute_wrappers.append(count_in_django)


def count_in_django(
    execute: Callable[..., Any], sql: Any, parameters: Any, many: bool, context: Any
) -> Any:
    """One of Django's `execute_wrappers`."""
    tally = _current.get()
    if tally is None:
        return execute(sql, parameters, many, context)
    started = perf_counter_ns()
    try:
        return execute(sql, parameters, many, context)
    finally:
        tally.add(str(sql), perf_counter_ns() - started)


def watch_sqlalchemy() -> None:
    event = importlib.import_module("sqlalchemy.event")
    engine = importlib.import_module("sqlalchemy.engine").Engine
    event.listen(engine, "before_cursor_execute", before_in_sqlalchemy)
    event.listen(engine, "after_cursor_execute", after_in_sqlalchemy)
    event.listen(engine, "handle_error", failed_in_sqlalchemy)


#: When the statement that a connection executes has started, in what SQLAlchemy keeps with it.
STARTED = "lockgate.dev.started"


def before_in_sqlalchemy(connection: Any, *_: Any) -> None:
    if _current.get() is not None:
        connection.info[STARTED] = perf_counter_ns()


def after_in_sqlalchemy(connection: Any, _cursor: Any, text: str, *_: Any) -> None:
    finish_in_sqlalchemy(connection, text)


def failed_in_sqlalchemy(failure: Any) -> None:
    if failure.connection is not None and failure.statement is not None:
        finish_in_sqlalchemy(failure.connection, failure.statement)


def finish_in_sqlalchemy(connection: Any, text: str) -> None:
    tally = _current.get()
    started = connection.info.pop(STARTED, None)
    if tally is not None and started is not None:
        tally.add(text, perf_counter_ns() - started)


#: The module with which a library comes, and what sets its hooks.
HOOKS: dict[str, Callable[[], None]] = {
    "django.db": watch_django,
    "sqlalchemy.engine": watch_sqlalchemy,
}
