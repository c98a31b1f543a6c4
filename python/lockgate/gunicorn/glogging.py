"""gunicorn's `Logger`: writes through the loggers `gunicorn.error` and `gunicorn.access`.

Subclasses override `setup`, `access`, `atoms` and the methods that log.
"""

import base64
import binascii
import json
import logging
import logging.config
import os
import time
import traceback
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from lockgate.gunicorn import loggers as server_loggers

CONFIG_DEFAULTS: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        "gunicorn.error": {
            "level": "INFO",
            "handlers": ["error_console"],
            "propagate": True,
            "qualname": "gunicorn.error",
        },
        "gunicorn.access": {
            "level": "INFO",
            "handlers": ["console"],
            "propagate": True,
            "qualname": "gunicorn.access",
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "generic",
            "stream": "ext://sys.stdout",
        },
        "error_console": {
            "class": "logging.StreamHandler",
            "formatter": "generic",
            "stream": "ext://sys.stderr",
        },
    },
    "formatters": {
        "generic": {
            "format": server_loggers.ERROR_FORMAT,
            "datefmt": server_loggers.DATE_FORMAT,
            "class": "logging.Formatter",
        }
    },
}


def loggers() -> list[logging.Logger]:
    """Every logger that exists."""
    return [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]


class SafeAtoms(dict[str, Any]):
    """Atoms for a format: quotation marks are escaped, and a missing atom is `-`."""

    def __init__(self, atoms: dict[str, Any]) -> None:
        super().__init__(
            (key, value.replace('"', '\\"') if isinstance(value, str) else value)
            for key, value in atoms.items()
        )

    def __getitem__(self, key: str) -> Any:
        return self.get(key.lower() if key.startswith("{") else key, "-")


class Logger:
    """Writes the error log and the access log, as `logger_class` of gunicorn does."""

    LOG_LEVELS = {
        "critical": logging.CRITICAL,
        "error": logging.ERROR,
        "warning": logging.WARNING,
        "info": logging.INFO,
        "debug": logging.DEBUG,
    }
    loglevel = logging.INFO
    error_fmt = server_loggers.ERROR_FORMAT
    datefmt = server_loggers.DATE_FORMAT
    access_fmt = server_loggers.ACCESS_FORMAT
    syslog_fmt = "[%(process)d] %(message)s"
    atoms_wrapper_class = SafeAtoms

    def __init__(self, cfg: Any) -> None:
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.propagate = False
        self.access_log = logging.getLogger("gunicorn.access")
        self.access_log.propagate = False
        self.error_handlers: list[logging.Handler] = []
        self.access_handlers: list[logging.Handler] = []
        self.logfile = None
        self.cfg = cfg
        self.setup(cfg)

    def setup(self, cfg: Any) -> None:
        """Sets levels and handlers, and configures Python's logging as the settings say."""
        self.cfg = cfg
        self.loglevel = self.LOG_LEVELS.get(cfg.loglevel.lower(), logging.INFO)
        self.error_log.setLevel(self.loglevel)
        self.access_log.setLevel(logging.INFO)
        error_format = logging.Formatter(self.error_fmt, self.datefmt)
        self._set_handler(self.error_log, cfg.errorlog, error_format)
        if cfg.accesslog is not None:
            self._set_handler(self.access_log, cfg.accesslog, logging.Formatter(self.access_fmt))
        apply_log_config(cfg)

    def critical(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.critical(msg, *args, **kwargs)

    def error(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.error(msg, *args, **kwargs)

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.warning(msg, *args, **kwargs)

    def info(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.info(msg, *args, **kwargs)

    def debug(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.debug(msg, *args, **kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.exception(msg, *args, **kwargs)

    def log(self, lvl: int | str, msg: Any, *args: Any, **kwargs: Any) -> None:
        level = self.LOG_LEVELS.get(lvl.lower(), logging.INFO) if isinstance(lvl, str) else lvl
        self.error_log.log(level, msg, *args, **kwargs)

    @property
    def access_log_enabled(self) -> bool:
        cfg = self.cfg
        return bool(cfg.accesslog or cfg.logconfig or cfg.logconfig_json or cfg.logconfig_dict)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Logs one request."""
        if not self.access_log_enabled:
            return
        atoms = self.atoms_wrapper_class(self.atoms(resp, req, environ, request_time))
        try:
            self.access_log.info(self.cfg.access_log_format, atoms)
        except Exception:
            self.error(traceback.format_exc())

    def atoms(
        self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta
    ) -> dict[str, Any]:
        """The values of the access log's format, by their names."""
        status = resp.status
        if isinstance(status, str):
            status = status.split(None, 1)[0]
        sent = getattr(resp, "sent", None)
        target = environ.get("RAW_URI", environ.get("PATH_INFO"))
        seconds, microseconds = request_time.seconds, request_time.microseconds
        atoms = {
            "h": environ.get("REMOTE_ADDR", "-"),
            "l": "-",
            "u": self._get_user(environ) or "-",
            "t": self.now(),
            "r": f"{environ['REQUEST_METHOD']} {target} {environ['SERVER_PROTOCOL']}",
            "s": status,
            "m": environ.get("REQUEST_METHOD"),
            "U": environ.get("PATH_INFO"),
            "q": environ.get("QUERY_STRING"),
            "H": environ.get("SERVER_PROTOCOL"),
            "b": "-" if sent is None else str(sent),
            "B": sent,
            "f": environ.get("HTTP_REFERER", "-"),
            "a": environ.get("HTTP_USER_AGENT", "-"),
            "T": seconds,
            "D": seconds * 1_000_000 + microseconds,
            "M": seconds * 1000 + microseconds // 1000,
            "L": f"{seconds}.{microseconds:06}",
            "p": f"<{os.getpid()}>",
        }
        for kind, pairs in (
            ("i", getattr(req, "headers", req)),
            ("o", resp.headers),
            ("e", environ),
        ):
            atoms.update((f"{{{name.lower()}}}{kind}", value) for name, value in _pairs(pairs))
        return atoms

    def now(self) -> str:
        """The time as the Common Log Format has it."""
        return time.strftime("[%d/%b/%Y:%H:%M:%S %z]")

    def reopen_files(self) -> None:
        """Opens the files of all handlers again. The server does so for its own logs."""
        for handler in _file_handlers():
            handler.acquire()
            try:
                if handler.stream:
                    handler.close()
                    handler.stream = handler._open()
            finally:
                handler.release()

    def close_on_exec(self) -> None:
        """Files of Python are closed at exec as they are."""

    def _get_gunicorn_handler(self, log: logging.Logger) -> logging.Handler | None:
        return next((handler for handler in log.handlers if _is_own(handler)), None)

    def _set_handler(
        self, log: logging.Logger, output: str | None, fmt: logging.Formatter, stream: Any = None
    ) -> None:
        """Replaces the server's handler of a logger."""
        while old := self._get_gunicorn_handler(log):
            log.removeHandler(old)
        if output is None:
            return
        own = self.cfg.errorlog if log is self.error_log else self.cfg.accesslog
        if output == own and (of_server := server_loggers.handler_for(log.name)):
            server_loggers.set_format(of_server, fmt)
            return log.addHandler(of_server)
        handler: Any
        handler = logging.StreamHandler(stream) if output == "-" else logging.FileHandler(output)
        handler.setFormatter(fmt)
        handler._gunicorn = True
        log.addHandler(handler)

    def _get_user(self, environ: dict[str, Any]) -> str | None:
        scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            decoded = base64.b64decode(credentials.strip().encode())
            return decoded.partition(b":")[0].decode()
        except (binascii.Error, ValueError) as error:
            self.debug("Couldn't get username: %s", error)
            return None


def _is_own(handler: logging.Handler) -> bool:
    return getattr(handler, "_gunicorn", False) is True


def _file_handlers() -> Iterable[logging.FileHandler]:
    for log in [logging.root, *loggers()]:
        for handler in log.handlers:
            if isinstance(handler, logging.FileHandler):
                yield handler


def _pairs(headers: Any) -> Iterable[tuple[str, Any]]:
    yield from headers.items() if hasattr(headers, "items") else headers


def apply_log_config(cfg: Any) -> None:
    """Configures Python's logging as `logconfig_dict`, else `logconfig_json`, else `logconfig`
    says; what they do not set is gunicorn's.

    Raises RuntimeError if the configuration is wrong.
    """
    try:
        if cfg.logconfig_dict:
            logging.config.dictConfig({**CONFIG_DEFAULTS, **cfg.logconfig_dict})
        elif cfg.logconfig_json:
            _require(cfg.logconfig_json)
            with open(cfg.logconfig_json) as file:
                logging.config.dictConfig({**CONFIG_DEFAULTS, **json.load(file)})
        elif cfg.logconfig:
            _require(cfg.logconfig)
            defaults = {
                **CONFIG_DEFAULTS,
                "__file__": cfg.logconfig,
                "here": os.path.dirname(cfg.logconfig),
            }
            logging.config.fileConfig(
                cfg.logconfig, defaults=defaults, disable_existing_loggers=False
            )
    except (AttributeError, ImportError, ValueError, TypeError) as error:
        raise RuntimeError(str(error)) from error


def _require(path: str) -> None:
    """A missing JSON file, which gunicorn ignores, would leave the defaults without a word."""
    if not os.path.exists(path):
        raise RuntimeError(f"Error: log config '{path}' not found")
