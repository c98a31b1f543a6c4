"""`BaseApplication`: a program that sets gunicorn's settings itself and serves its application."""

import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from lockgate import _lockgate, embedding, keywords
from lockgate.gunicorn.conf import HOOKS
from lockgate.gunicorn.config import Config
from lockgate.keywords import Application as WsgiApplication


class _ProgramConfig(Config):
    """Keeps the names that the program has set: the others have Lockgate's defaults."""

    given: set[str]

    def __init__(self, usage: str | None = None, prog: str | None = None) -> None:
        super().__init__(usage, prog)
        self.given = set()

    def set(self, name: str, value: Any) -> None:
        super().set(name, value)
        self.given.add(name)


class BaseApplication:
    """As gunicorn's: a subclass has `load_config`, which sets settings by `self.cfg.set`, and
    `load`, which returns the application and is called in each worker."""

    cfg: Any

    def __init__(self, usage: str | None = None, prog: str | None = None) -> None:
        self.usage = usage
        self.cfg = None
        self.callable: WsgiApplication | None = None
        self.prog = prog
        self.logger = None
        self.do_load_config()

    def do_load_config(self) -> None:
        try:
            self.load_default_config()
            self.load_config()
        except Exception as error:
            _exit(error)

    def load_default_config(self) -> None:
        defaults = json.loads(_lockgate.gunicorn_defaults())
        self.cfg = _ProgramConfig.of({**defaults, "wsgi_app": None})
        self.cfg.usage = self.usage
        self.cfg.prog = self.prog or self.cfg.prog

    def init(self, parser: Any, opts: Any, args: Any) -> Any:
        raise NotImplementedError

    def load(self) -> WsgiApplication:
        raise NotImplementedError

    def load_config(self) -> None:
        raise NotImplementedError

    def reload(self) -> None:
        self.do_load_config()

    def wsgi(self) -> WsgiApplication:
        if self.callable is None:
            self.callable = self.load()
        return self.callable

    def run(self) -> NoReturn:
        """Serves until the server is asked to stop, and then ends the program, as gunicorn does."""
        self._run(self.wsgi, keywords.name_of(type(self)))

    def _run(self, provide: Callable[[], object] | None, name: str) -> NoReturn:
        """`name` is that of the application, which workers import if they cannot get it."""
        try:
            self._serve(provide, name)
        except (ValueError, TypeError, RuntimeError) as error:
            _exit(error)
        sys.exit(0)

    def _serve(self, provide: Callable[[], object] | None, name: str) -> None:
        given = {name: self.cfg.settings[name].get() for name in self.cfg.given}
        hooks = sorted(name for name in given if name in HOOKS and given[name] is not None)
        if hooks:
            raise ValueError(
                f"{', '.join(hooks)}: hooks are read from a configuration file: move them "
                "into one, and name it by self.cfg.set('config', 'gunicorn.conf.py')"
            )
        config = given.pop("config", None)
        for name_of_class in ("logger_class", "worker_class"):
            value = given.get(name_of_class)
            if isinstance(value, type):
                given[name_of_class] = f"{value.__module__}.{value.__qualname__}"
        embedding.supervise(provide, keywords.dumps(name, given), config, reads_default_file=False)


def _exit(error: Exception) -> NoReturn:
    print(f"\nError: {error}\n", file=sys.stderr, flush=True)
    sys.exit(1)


class Application(BaseApplication):
    """As gunicorn's, whose subclasses may have a command line. Here only `WSGIApplication` has."""
