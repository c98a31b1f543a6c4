"""The object `worker` of hooks."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any


class Worker:
    """Attributes of gunicorn's workers. Hooks may add others."""

    def __init__(
        self,
        age: int,
        ppid: int,
        sockets: Sequence[Any],
        app: Any,
        timeout: float,
        cfg: Any,
        log: Any,
    ) -> None:
        self.age = age
        self.pid: Any = "[booting]"
        self.ppid = ppid
        self.sockets = list(sockets)
        self.app = app
        self.timeout = timeout
        self.cfg = cfg
        self.log = log
        self.booted = False
        self.aborted = False
        self.reloader = None
        #: The application, once it is loaded.
        self.wsgi: Any = None
        #: The number of requests that the worker has begun, while it has hooks for requests.
        self.nr = 0
        self.max_requests = cfg.max_requests or sys.maxsize
        self._alive = True
        self._retire: Callable[[], None] | None = None

    @property
    def alive(self) -> bool:
        return self._alive

    @alive.setter
    def alive(self, value: bool) -> None:
        """A hook that sets it to False has the worker replaced, as in gunicorn."""
        was_alive, self._alive = self._alive, value
        if was_alive and not value and self._retire:
            self._retire()

    def notify(self) -> None:
        """gunicorn's heartbeat; the server has its own."""

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"


def booting(*, age: int, ppid: int, sockets: Sequence[Any], app: Any, cfg: Any, log: Any) -> Worker:
    """The worker of this process."""
    worker = Worker(age, ppid, sockets, app, (cfg.timeout or 0) / 2, cfg, log)
    worker.pid = os.getpid()
    return worker
