"""The loggers `gunicorn.error` and `gunicorn.access`: their handlers write to the server's logs.

They exist in each worker before the application is imported, so that an application may use their
handlers and levels as it does under gunicorn.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from lockgate._lockgate import ErrorStream

#: gunicorn's formats. Of a handler with its own format the server writes time, process and level.
ERROR_FORMAT = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
DATE_FORMAT = "[%Y-%m-%d %H:%M:%S %z]"
ACCESS_FORMAT = "%(message)s"

if TYPE_CHECKING:
    Handler = logging.StreamHandler[ErrorStream]
else:
    Handler = logging.StreamHandler

WriteEvent = Callable[[int, str, str], None]

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
    _set_up("gunicorn.error", level, ErrorHandler(write_event, error_stream))
    access = AccessHandler(access_stream) if access_stream else None
    _set_up("gunicorn.access", logging.INFO, access)


def _set_up(name: str, level: int, handler: logging.Handler | None) -> None:
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.setLevel(level)
    for old in [old for old in logger.handlers if getattr(old, "_gunicorn", False)]:
        logger.removeHandler(old)
    if handler:
        logger.addHandler(handler)
