"""PasteDeploy: the server runner for pserve (`use = egg:lockgate#main` in `[server:main]`), and
applications of its files (`--paste FILE.ini`).
"""

import configparser
import logging.config
import os
from collections.abc import Iterable, Mapping

from lockgate import embedding, keywords, loading
from lockgate.keywords import Application


def main(app: Application, global_conf: Mapping[str, str] | None = None, **settings: str) -> None:
    """Serves until the server is asked to stop. `settings` are the keys of the section.

    Raises ValueError when one of them is wrong, and RuntimeError when the server cannot start:
    pserve exits with 0 after a SystemExit.
    """
    given = {name.strip().lower().replace("-", "_"): value for name, value in settings.items()}
    config = given.pop("config", None)
    for name in ("host", "port"):
        if not given.get(name, "").strip():
            given.pop(name, None)
    application = keywords.checked(app)
    try:
        embedding.supervise(lambda: application, keywords.dumps(application, given), config)
    except ValueError as error:
        where = (global_conf or {}).get("__file__", "[server:main]")
        raise ValueError(f"{where}: {error}") from None
    except SystemExit as ended:
        raise RuntimeError(
            f"the server has ended with exit code {ended.code}; its log says why"
        ) from None


def load(
    file: os.PathLike[str] | str,
    name: str | None,
    global_conf: Iterable[tuple[str, str]],
    pythonpath: Iterable[os.PathLike[str] | str] = (),
) -> Application:
    """Returns the application `name` (`main`) of the file, with its logging configured."""
    path = os.path.abspath(file)
    spec = f"{path}#{name}" if name else path
    if not os.path.isfile(path):
        raise loading.AppImportError(f"cannot load {path}: there is no such file")
    loading.prepend([*(os.fspath(directory) for directory in pythonpath), os.getcwd()])
    try:
        from paste.deploy import loadapp
    except ImportError:
        raise loading.AppImportError(
            f"cannot load {spec}: it needs the package PasteDeploy: pip install PasteDeploy"
        ) from None

    def provide() -> object:
        _configure_logging(path)
        return loadapp(f"config:{path}", name=name, global_conf=dict(global_conf))

    return loading.provided(provide, spec)


def _configure_logging(path: str) -> None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(path)
    if parser.has_section("loggers"):
        defaults = {"__file__": path, "here": os.path.dirname(path)}
        logging.config.fileConfig(path, defaults, disable_existing_loggers=False)
