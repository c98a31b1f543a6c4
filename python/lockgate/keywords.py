"""Settings as keyword arguments of Python, and the application that they belong to."""

import inspect
import json
import math
import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

Application = Callable[..., Any]


def checked(app: object) -> Application:
    """The application, if it can be one. Raises TypeError."""
    if isinstance(app, str):
        raise TypeError(f"{app!r} is a name: pass the application, the object that it names")
    if isinstance(app, ModuleType) or not callable(app):
        raise TypeError(
            f"{app!r} is not callable: pass a WSGI application, such as a Flask object or a "
            "function of (environ, start_response)"
        )
    call = getattr(app, "__call__", None)  # noqa: B004 (the method itself is inspected)
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call):
        raise TypeError(
            f"{app!r} is asynchronous, as ASGI applications are; Lockgate serves WSGI applications"
        )
    return app


def name_of(app: object) -> str:
    """A name for logs and process titles, such as `shop.wsgi:application` or `flask.app:Flask`."""
    named = app if hasattr(app, "__name__") else type(app)
    module, name = getattr(named, "__module__", None), getattr(named, "__name__", None)
    parts = (str(module or "__main__"), str(name or type(app).__name__))
    module, name = (part if part.replace(".", "_").isidentifier() else "app" for part in parts)
    return f"{module}:{name}"


def dumps(app: object, settings: Mapping[str, object]) -> str:
    """The settings as JSON, without those that are None, which stand for defaults. `app` is the
    application, or its name."""
    given = {name: value for name, value in settings.items() if value is not None}
    given["app"] = app if isinstance(app, str) else name_of(app)
    _place(given)
    for name, value in given.items():
        given[name] = _plain(name, value)
    return json.dumps(given)


def _place(settings: dict[str, object]) -> None:
    """Replaces `host`, `port` and `listen`, as waitress and Werkzeug name addresses, by `bind`."""
    names = [name for name in ("host", "port", "listen") if name in settings]
    if not names:
        return
    if "bind" in settings or len(names) == 3 or names in (["host", "listen"], ["port", "listen"]):
        raise ValueError("bind, host with port, and listen exclude each other: keep one of them")
    if "listen" in settings:
        listen = settings.pop("listen")
        settings["bind"] = listen.split() if isinstance(listen, str) else listen
        return
    hosts = str(settings.pop("host", "127.0.0.1")).split(",")
    port = settings.pop("port", None)
    end = "" if port is None else f":{port}"
    hosts = [f"[{host}]" if host.count(":") > 1 else host for host in hosts]
    settings["bind"] = [host + end for host in hosts]


def _plain(name: str, value: object) -> object:
    """The value as JSON has it."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"{name}: the number is out of range")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}={value!r}: must be a finite number")
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(name, item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(str(item) for item in value)
    raise TypeError(f"{name}={value!r}: a setting is text, a number, a list or a dictionary")
