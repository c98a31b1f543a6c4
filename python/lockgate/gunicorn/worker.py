"""gunicorn's configuration in a worker process: its hooks there, and the objects that they get."""

import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lockgate import loading
from lockgate.gunicorn import conf, loggers
from lockgate.gunicorn.arbiter import Arbiter, Listener
from lockgate.gunicorn.config import Config, address_of
from lockgate.gunicorn.glogging import Logger
from lockgate.gunicorn.requests import RequestHooks
from lockgate.gunicorn.workers.base import Worker, booting

#: Names of gunicorn's own class of loggers.
_OWN_LOGGERS = {None, "", "simple", "gunicorn.glogging.Logger", "lockgate.gunicorn.glogging.Logger"}


def start(
    source: str | None,
    text: str | None,
    values: str,
    binds: Sequence[str],
    app: str,
    pythonpath: Sequence[os.PathLike[str] | str],
) -> "WorkerHooks":
    """Executes the configuration, if there is one, whose file had this text when it was evaluated.
    `values` is the JSON of every setting.

    Raises what the configuration raises, or its class of loggers.
    """
    loading.prepend([*(os.fspath(directory) for directory in pythonpath), os.getcwd()])
    namespace = conf.execute(source, text) if source else {}
    cfg = _configuration(json.loads(values), namespace)
    return WorkerHooks(cfg, _logger(cfg, namespace), binds, app)


def attach(
    source: None, text: None, values: str, binds: Sequence[str], app: str, _: object
) -> "WorkerHooks":
    """Only logs access records: the import of the application has changed their logger."""
    cfg = _configuration(json.loads(values), {})
    return WorkerHooks(cfg, _LoggerAsItIs(cfg), binds, app)


class _LoggerAsItIs(Logger):
    """Leaves the loggers as the application has set them up."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg


def describe(error: BaseException) -> str:
    """The traceback of what a function of this module has raised, from the operator's code on."""
    return conf.describe(error)


class Application:
    """The object `app` of `server` and `worker`."""

    def __init__(self, cfg: Config, app_uri: str) -> None:
        self.cfg = cfg
        self.app_uri = app_uri
        #: The WSGI application, once it is loaded.
        self.callable: Any = None

    def wsgi(self) -> Any:
        return self.callable


class WorkerHooks:
    """The hooks of gunicorn that run in a worker process, in the order in which they are called.

    A fork server makes the object, and each of its workers uses a copy.
    """

    def __init__(self, cfg: Config, log: Any, binds: Sequence[str], app: str) -> None:
        self._cfg = cfg
        self._log = log
        self._binds = binds
        self._app = app
        # This process is a child of the supervisor, whatever its workers are.
        self._supervisor = os.getppid()
        self._server: Arbiter | None = None
        self._worker: Worker | None = None

    def post_fork(self, age: int, retire: Callable[[], None]) -> None:
        """Right after the fork. What the hook raises ends the worker."""
        cfg, log, app = self._cfg, self._log, Application(self._cfg, self._app)
        listeners = [Listener(bind, address_of(bind)) for bind in self._binds]
        self._server = Arbiter(cfg, log, pid=self._supervisor, app=app, listeners=listeners)
        self._worker = booting(
            age=age, ppid=self._supervisor, sockets=listeners, app=app, cfg=cfg, log=log
        )
        self._worker._retire = retire
        self._cfg.post_fork(self._server, self._worker)

    def post_worker_init(self, application: Any) -> None:
        """After the application was loaded. What the hook raises ends the worker."""
        assert self._worker is not None
        self._worker.wsgi = self._worker.app.callable = application
        self._cfg.post_worker_init(self._worker)
        self._worker.booted = True

    def request_hooks(self, has_threads: bool) -> RequestHooks | None:
        """The hooks around requests; None if there are none, and Python logs no access."""
        assert self._worker is not None
        pre, post = (self._defined(name) for name in ("pre_request", "post_request"))
        records_access = self.records_access()
        if pre is None and post is None and not records_access:
            return None
        return RequestHooks(
            self._worker, pre, post, records_access=records_access, has_threads=has_threads
        )

    def records_access(self) -> bool:
        """Whether access records go through Python's loggers: the configuration or the application
        decides what happens to them."""
        cfg = self._cfg
        is_configured = bool(cfg.logconfig or cfg.logconfig_json or cfg.logconfig_dict)
        is_own = type(self._log) in (Logger, _LoggerAsItIs) and not is_configured
        return not is_own or bool(cfg.accesslog and loggers.is_changed())

    def worker_int(self) -> None:
        """At a quick stop."""
        self._at_end("worker_int", self._worker)

    def worker_abort(self) -> None:
        """When the worker is aborted, and `worker_exit` after it."""
        self._at_end("worker_abort", self._worker)
        self.worker_exit()

    def worker_exit(self) -> None:
        """At the end of a worker, whether or not it has served."""
        self._at_end("worker_exit", self._server, self._worker)
        self._worker = None

    def reopen_logs(self) -> None:
        """Opens the files of Python's handlers again, after they were renamed."""
        self._log.reopen_files()

    def _defined(self, name: str) -> Callable[..., Any] | None:
        hook = self._cfg.settings[name]
        return None if hook.value is hook.default else hook.value

    def _at_end(self, name: str, *given: Any) -> None:
        """Calls a hook that cannot fail the worker any more."""
        if self._worker is None:
            return
        # Not through the property: the worker ends already.
        self._worker._alive = False
        try:
            getattr(self._cfg, name)(*given)
        except BaseException as error:
            # sys.exit() too: the worker ends with the exit code of its end.
            self._log.warning("Exception in %s hook:\n%s", name, describe(error))


def _configuration(values: Mapping[str, Any], namespace: dict[str, Any]) -> Config:
    cfg = Config.of(values)
    for name in conf.HOOKS:
        if function := conf.hook(namespace, name):
            cfg.set(name, _called_with_what_it_takes(name, function))
    if isinstance(given := namespace.get("logconfig_dict"), dict):
        cfg.set("logconfig_dict", given)
    return cfg


def _called_with_what_it_takes(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`post_request` may take two, three or four arguments."""
    if len(conf.HOOKS[name]) == 1:
        return function
    most = max(conf.HOOKS[name])
    taken = len(conf.arguments(name, function, (None,) * most))
    return function if taken == most else lambda *given: function(*given[:taken])


def _logger(cfg: Config, namespace: dict[str, Any]) -> Any:
    """The server's logger, or that of `logger_class`."""
    path = cfg.logger_class
    if path in _OWN_LOGGERS:
        return Logger(cfg)
    given = namespace.get("logger_class")
    if isinstance(given, type) and path == f"{given.__module__}.{given.__qualname__}":
        found: Any = given
    else:
        found = _class_of(path)
    if hasattr(found, "install"):
        found.install()
    return found(cfg)


def _class_of(path: str) -> Any:
    module, _, name = path.rpartition(".")
    if not module:
        raise ImportError(f"logger_class = {path!r}: write it as 'module.Class'")
    return getattr(importlib.import_module(module), name)
