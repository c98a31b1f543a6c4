"""The object `server` of hooks: what gunicorn's master process is to them."""

import os
import sys
from collections.abc import Sequence
from typing import Any


class Listener:
    """A listening socket, as `server.LISTENERS` and `worker.sockets` list them: its address."""

    def __init__(self, url: str, address: tuple[str, int] | str) -> None:
        self._url = url
        self.cfg_addr = address

    def getsockname(self) -> tuple[str, int] | str:
        return self.cfg_addr

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"<Listener {self._url}>"


class Arbiter:
    """Attributes of gunicorn's Arbiter. Hooks may add others."""

    WORKER_BOOT_ERROR = 3
    APP_LOAD_ERROR = 4

    def __init__(
        self,
        cfg: Any,
        log: Any,
        *,
        pid: int,
        app: Any = None,
        listeners: Sequence[Listener] = (),
        num_workers: int | None = None,
    ) -> None:
        self.cfg = cfg
        self.log = log
        self.pid = pid
        self.app = app
        self.LISTENERS = list(listeners)
        #: Worker objects by process id.
        self.WORKERS: dict[int, Any] = {}
        self.address = cfg.address
        self.num_workers = cfg.workers if num_workers is None else num_workers
        self.timeout = cfg.timeout
        self.proc_name = cfg.proc_name
        self.worker_class = None
        self.worker_age = 0
        self.master_pid = 0
        self.master_name = "Master"
        self.reexec_pid = 0
        self.pidfile = None
        self.systemd = "LISTEN_FDS" in os.environ
        self.START_CTX = {
            "args": [sys.executable, *sys.argv],
            "cwd": os.getcwd(),
            0: sys.executable,
        }
