"""Import of the application as a worker does it: directory, variables, `sys.path`, name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from lockgate import loading, paste, patching, privileges
from lockgate.check import handlers, standins
from lockgate.check.settings import Settings, named

Application = Callable[..., Any]


def prepare(settings: Settings) -> None:
    """Changes this process as a worker is before the import."""
    if settings["chdir"]:
        try:
            os.chdir(settings["chdir"])
        except OSError as error:
            text = f"chdir = {settings['chdir']}: {error.strerror}"
            raise loading.AppImportError(text) from None
    for variable in settings["env"]:
        name, _, value = variable.partition("=")
        os.environ[name] = value
    if settings["umask"]:
        os.umask(int(settings["umask"], 8))
    become(settings["user"] or None, settings["group"] or None)
    standins.install(settings)
    handlers.install()


def become(user: str | None, group: str | None) -> None:
    """As a worker. Raises LookupError if this process may not."""
    try:
        privileges.become(user, group)
        privileges.check_interpreter(user, group)
    except PermissionError:
        raise LookupError(
            f"user = {user or ''}, group = {group or ''}: only root can change them, and the check "
            f"runs as {privileges.user_name()}\n"
            "  hint: run it as root or as that user; at a workstation, with other settings: "
            "lockgate check APP -- --user '' --group ''"
        ) from None


def load(settings: Settings) -> Application:
    """Raises AppImportError, AppNotFound or PatchedThreads, with the exit code of the server."""
    refuse_patched(settings, "before the application was imported, as by sitecustomize")
    name = named(settings["app"])
    pythonpath = settings["pythonpath"]
    if name.paste is not None:
        pairs = [tuple(pair.split("=", 1)) for pair in settings["paste_global"]]
        application = paste.load(name.paste, name.paste_name, pairs, pythonpath)
    else:
        application = loading.load(
            module=name.module,
            file=name.file,
            attribute=name.attribute,
            arguments=name.arguments,
            pythonpath=pythonpath,
        )
    refuse_patched(settings, "by the import of the application")
    return application


def refuse_patched(settings: Settings, when: str) -> None:
    if not settings["allow_patched_threads"]:
        patching.refuse(when)
