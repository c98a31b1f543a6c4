"""The module `uwsgidecorators`: `@postfork`, `@lock`, `@thread` and `@harakiri` work; the others
are refused where they are used.
"""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable
from typing import Any, NoReturn

from lockgate.uwsgi.errors import refuse
from lockgate.uwsgi.module import UwsgiModule
from lockgate.uwsgi.names import DECORATORS

Function = Callable[..., Any]


def build(uwsgi: UwsgiModule) -> types.ModuleType:
    """The module for this module `uwsgi`."""
    module = types.ModuleType("uwsgidecorators", __doc__)
    chain: list[Function] = []

    class postfork:  # noqa: N801
        """Calls the function in each worker after its fork; `@postfork(N)`: in worker N."""

        def __init__(self, function: Function | int) -> None:
            self.wid = 0 if callable(function) else function
            self.f = function if callable(function) else None
            chain.append(self)

        def __call__(self, *arguments: Any) -> Any:
            if self.f is None:
                self.f = arguments[0]
                return self
            if self.wid > 0 and self.wid != uwsgi.worker_id():
                return None
            return self.f()

    def postfork_chain_hook() -> None:
        for function in chain:
            function()

    def lock(function: Function) -> Function:
        """Runs the function under the lock 0."""

        @functools.wraps(function)
        def locked(*arguments: Any, **keywords: Any) -> Any:
            uwsgi.lock()
            try:
                return function(*arguments, **keywords)
            finally:
                uwsgi.unlock()

        return locked

    def thread(function: Function) -> Callable[..., Function]:
        """Each call runs the function on a daemon thread."""

        @functools.wraps(function)
        def started(*arguments: Any) -> Function:
            threading.Thread(target=function, args=arguments, daemon=True).start()
            return function

        return started

    def harakiri(seconds: int) -> Callable[[Function], Function]:
        """Extends the request's deadline while the function runs."""

        def decorate(function: Function) -> Function:
            @functools.wraps(function)
            def called(*arguments: Any, **keywords: Any) -> Any:
                uwsgi.set_user_harakiri(seconds)
                return function(*arguments, **keywords)

            return called

        return decorate

    uwsgi.post_fork_hook = postfork_chain_hook
    own = {
        "uwsgi": uwsgi,
        "postfork": postfork,
        "postfork_chain": chain,
        "postfork_chain_hook": postfork_chain_hook,
        "lock": lock,
        "thread": thread,
        "harakiri": harakiri,
        "spooler_functions": {},
        "mule_functions": {},
    }
    vars(module).update(own)
    for name, advice in DECORATORS.items():
        setattr(module, name, _refusing(name, advice))
    return module


def _refusing(name: str, advice: str) -> Callable[..., NoReturn]:
    def refused(*_: object, **__: object) -> NoReturn:
        refuse(f"uwsgidecorators.{name}", advice)

    refused.__name__ = refused.__qualname__ = name
    return refused
