"""`WSGIApplication`: the command line as a class, and programs that name their application."""

import sys
from typing import NoReturn

from lockgate import _lockgate
from lockgate.gunicorn.app.base import Application
from lockgate.keywords import Application as WsgiApplication


class WSGIApplication(Application):
    """As gunicorn's: without a `load_config` of its own it is the command line, otherwise
    `app_uri` names the application, which each worker imports."""

    app_uri: str | None = None

    def load_config(self) -> None:
        """The command line is read by `run`."""

    def load(self) -> WsgiApplication:
        raise RuntimeError("the application is loaded by its name, in each worker")

    def run(self) -> NoReturn:
        has_own_config = type(self).load_config is not WSGIApplication.load_config
        if type(self).load is not WSGIApplication.load:
            super().run()
        if not has_own_config:
            sys.exit(_lockgate.run(sys.argv))
        named = self.app_uri or self.cfg.wsgi_app
        if not named:
            print("\nError: No application module specified.\n", file=sys.stderr, flush=True)
            sys.exit(1)
        self._run(None, str(named))


def run(prog: str | None = None) -> NoReturn:
    """The command line."""
    WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]", prog=prog).run()


if __name__ == "__main__":
    run()
