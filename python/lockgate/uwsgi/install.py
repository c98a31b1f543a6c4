"""Puts the modules `uwsgi` and `uwsgidecorators` into a process, before its application."""

from __future__ import annotations

import sys
from typing import Any

from lockgate.uwsgi import decorators, requests
from lockgate.uwsgi.module import UwsgiModule
from lockgate.uwsgi.services import Services


def install(services: Services, facts: dict[str, Any]) -> bool:
    """Installs the modules; false when there is a module `uwsgi` already, which stays."""
    if "uwsgi" in sys.modules:
        return False
    uwsgi = UwsgiModule(services, facts)
    sys.modules["uwsgi"] = uwsgi
    # Also in place of the file of the package uWSGI, which uses functions that are refused.
    sys.modules["uwsgidecorators"] = decorators.build(uwsgi)
    return True


def become_worker(number: int) -> None:
    """This process is now the worker of this number, from 1: runs the functions of `@postfork`."""
    uwsgi = sys.modules.get("uwsgi")
    if isinstance(uwsgi, UwsgiModule):
        uwsgi._become_worker(number)  # noqa: SLF001


def wrap(application: requests.Application) -> requests.Application:
    """The application, such that functions of `uwsgi` know the request."""
    if isinstance(sys.modules.get("uwsgi"), UwsgiModule):
        return requests.wrap(application)
    return application
