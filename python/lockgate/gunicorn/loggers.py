"""The loggers `gunicorn.error` and `gunicorn.access`: their handlers write to the server's logs.

They exist in each worker before the application is imported, so that an application may use their
handlers and levels as it does under gunicorn.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from lockgate._lockgate import ErrorStream
from lockgate.gunicorn import alias

#: gunicorn's formats. Of a handler with its own format the server writes time, process and level.
ERROR_FORMAT = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
DATE_FORMAT = "[%Y-%m-%d %H:%M:%S %z]"
ACCESS_FORMAT = "%(message)s"

if TYPE_CHECKING:
    Handler = logging.StreamHandler[ErrorStream]
else:
    Handler = logging.StreamHandler

ERROR = "gunicorn.error"
ACCESS = "gunicorn.access"
OWN = "lockgate"

WriteEvent = Callable[[int, str, str], None]

#: How to make the handler of each logger.
_makers: dict[str, Callable[[], logging.Handler]] = {}

_event_formatter = logging.Formatter(ERROR_FORMAT, DATE_FORMAT)
_message_formatter = logging.Formatter("%(message)s")


class ErrorHandler(Handler):
    """Writes records to the error log: as events of the server, or as lines of the formatter that
    the application has set."""

    #: gunicorn marks its handlers so.
    _gunicorn = True

    def __init__(self, write_event: WriteEvent, stream: ErrorStream) -> None:
        super().__init__(stream)
        self.formatter = _event_formatter
        self._write_event = write_event

    def emit(self, record: logging.LogRecord) -> None:
        if self.formatter is not _event_formatter:
            return super().emit(record)
        try:
            self._write_event(record.levelno, record.name, _message_formatter.format(record))
        except Exception:
            self.handleError(record)


class OwnHandler(ErrorHandler):
    """Writes what this package logs, such as the failure of a store of sessions, to the error log,
    unless the application has given the root logger a handler."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.root.handlers:
            super().emit(record)


class AccessHandler(Handler):
    """Writes each record to the access log as one line."""

    _gunicorn = True

    def __init__(self, stream: ErrorStream) -> None:
        super().__init__(stream)
        self.formatter = logging.Formatter(ACCESS_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\\x0a")


def install(
    level: int,
    write_event: WriteEvent,
    error_stream: ErrorStream,
    access_stream: ErrorStream | None,
) -> None:
    """As in gunicorn, `gunicorn.access` has no handler without an access log."""
    # The application may import gunicorn, as the configuration may.
    alias.install()
    _makers.clear()
    _makers[ERROR] = lambda: ErrorHandler(write_event, error_stream)
    if access_stream:
        _makers[ACCESS] = lambda: AccessHandler(access_stream)
    for name, of_logger in ((ERROR, level), (ACCESS, logging.INFO)):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(of_logger)
        for old in [old for old in logger.handlers if getattr(old, "_gunicorn", False)]:
            logger.removeHandler(old)
        if handler := handler_for(name):
            logger.addHandler(handler)
    own = logging.getLogger(OWN)
    own.handlers = [handler for handler in own.handlers if type(handler) is not OwnHandler]
    own.addHandler(OwnHandler(write_event, error_stream))


def handler_for(name: str) -> logging.Handler | None:
    """A new handler that writes to the server's log of this logger, if there is one."""
    make = _makers.get(name)
    return make() if make else None


def set_format(handler: logging.Handler, formatter: logging.Formatter) -> None:
    """Sets the formatter, unless it is gunicorn's own: the server then formats the line."""
    own = (ERROR_FORMAT, DATE_FORMAT)
    is_own = type(formatter) is logging.Formatter and (formatter._fmt, formatter.datefmt) == own
    handler.setFormatter(_event_formatter if is_own else formatter)


def is_changed() -> bool:
    """Whether the application or the configuration decides what happens to access records: it has
    given `gunicorn.access` a filter or a handler, or lets it propagate."""
    logger = logging.getLogger(ACCESS)
    handlers = logger.handlers
    is_own = all(
        type(handler) is AccessHandler and type(handler.formatter) is logging.Formatter
        for handler in handlers
    )
    is_filtered = bool(logger.filters or any(handler.filters for handler in handlers))
    return is_filtered or logger.propagate or not is_own
