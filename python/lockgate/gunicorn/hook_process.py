"""The hook process: runs the hooks of gunicorn's master, in the order of the supervisor's events.

It lives over reloads, as gunicorn's master does: threads and servers that a hook has started go on,
and attributes that hooks have set on `server` and on workers stay.
"""

import atexit
import json
import os
import socket
from typing import Any, Protocol

from lockgate import loading
from lockgate.gunicorn import conf
from lockgate.gunicorn import worker as worker_hooks
from lockgate.gunicorn.arbiter import Arbiter
from lockgate.gunicorn.config import Config
from lockgate.gunicorn.workers.base import Worker

#: The longest event.
LONGEST = 1 << 20
#: As many workers may be in a fork; older ones were not forked.
MOST_BOOTING = 1000


class Host(Protocol):
    """The server's side of this process."""

    def begin(self, name: str) -> None: ...
    def end(self) -> None: ...
    def ready(self) -> None: ...
    def refuse(self, code: int, text: str) -> None: ...
    def failed(self, name: str, traceback: str) -> None: ...


def run(descriptor: int, host: Host, directory: str | None) -> None:
    """Handles events until the server ends the process or has exited."""
    # Exit functions of the supervisor's process are not this one's.
    atexit._clear()
    process = HookProcess(host, directory)
    with socket.socket(fileno=descriptor) as channel:
        channel.setblocking(True)
        while True:
            text, pipes, _, _ = socket.recv_fds(channel, LONGEST, 1, socket.MSG_CMSG_CLOEXEC)
            if not text:
                return
            try:
                event = json.loads(text)
                process.handle(event)
            finally:
                # The worker that is being forked waits for this.
                for pipe in pipes:
                    os.close(pipe)
            if event["event"] == "exit":
                atexit._run_exitfuncs()
                return


class HookProcess:
    """The configuration whose hooks run, and the objects that hooks get."""

    def __init__(self, host: Host, directory: str | None) -> None:
        self._host = host
        #: The working directory at the start of the server, in which the configuration is executed.
        self._directory = directory
        self._server: Arbiter | None = None
        #: During a reload: configuration and logger before it.
        self._before: tuple[Config, Any] | None = None
        #: Worker objects by age. One that is being forked is not in `server.WORKERS` yet.
        self._workers: dict[int, Worker] = {}
        #: Variables that the configuration has set, with their values before.
        self._variables: dict[str, str | None] = {}

    def handle(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "start":
            self._start(event)
        elif kind == "reload":
            self._reload(event)
        elif kind == "restore":
            self._restore(event)
        elif kind == "commit":
            self._before = None
        elif kind == "answer":
            self._host.ready()
        elif self._server is not None:
            # First: the objects of a worker that has exited are dropped by the update.
            arguments = self._arguments(event)
            self._update(self._server, event)
            self._run("on_exit" if kind == "exit" else event["name"], self._server, *arguments)

    def _start(self, event: dict[str, Any]) -> None:
        try:
            cfg, log = self._execute(event)
        except BaseException as error:
            text = f"the configuration has failed in the hook process\n{conf.describe(error)}"
            self._host.refuse(3, text)
            return
        self._server = Arbiter(cfg, log, pid=os.getppid())
        self._update(self._server, event)

    def _reload(self, event: dict[str, Any]) -> None:
        """As in gunicorn the same object `server` gets a new `cfg`."""
        if self._server is None:
            return self._start(event)
        before = self._server.cfg, self._server.log
        try:
            cfg, log = self._execute(event)
        except BaseException as error:
            self._host.failed("configuration", conf.describe(error))
            return
        self._before = before
        self._set(cfg, log)

    def _restore(self, event: dict[str, Any]) -> None:
        if self._before is None:
            # This process has started during the reload.
            return self._reload(event)
        self._set(*self._before)
        self._before = None

    def _execute(self, event: dict[str, Any]) -> tuple[Config, Any]:
        if self._directory is not None:
            os.chdir(self._directory)
        self._set_environment({})
        source = event["source"]
        namespace = conf.execute(source, event["text"]) if source else {}
        cfg = worker_hooks._configuration(event["cfg"], namespace)
        self._set_environment(cfg.env)
        if cfg.chdir:
            os.chdir(cfg.chdir)
        loading.prepend([*filter(None, (cfg.pythonpath or "").split(",")), os.getcwd()])
        return cfg, worker_hooks._logger(cfg, namespace)

    def _set_environment(self, variables: dict[str, str]) -> None:
        for name, value in self._variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._variables = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)

    def _set(self, cfg: Config, log: Any) -> None:
        server = self._server
        assert server is not None
        server.cfg = cfg
        server.log = log
        server.address = cfg.address
        server.timeout = cfg.timeout
        server.proc_name = cfg.proc_name

    def _update(self, server: Arbiter, event: dict[str, Any]) -> None:
        """Brings the objects up to date with the server."""
        server.num_workers = event["num_workers"]
        server.WORKERS = {}
        for pid, age in event["workers"]:
            worker = server.WORKERS[pid] = self._worker(server, age)
            worker.pid = pid
        for age, worker in list(self._workers.items()):
            is_old = age < server.worker_age - MOST_BOOTING
            if worker.pid not in server.WORKERS and (isinstance(worker.pid, int) or is_old):
                del self._workers[age]

    def _worker(self, server: Arbiter, age: int) -> Worker:
        server.worker_age = max(server.worker_age, age)
        if age not in self._workers:
            cfg = server.cfg
            timeout = (cfg.timeout or 0) / 2
            self._workers[age] = Worker(
                age, server.pid, server.LISTENERS, server.app, timeout, cfg, server.log
            )
        return self._workers[age]

    def _arguments(self, event: dict[str, Any]) -> tuple[Any, ...]:
        assert self._server is not None
        if "worker" in event:
            pid, age = event["worker"]
            worker = self._worker(self._server, age)
            if pid is not None:
                worker.pid = pid
            return (worker,)
        if "new" in event:
            return (event["new"], event["old"])
        return ()

    def _run(self, name: str, *arguments: Any) -> None:
        """Runs one hook. What it raises ends neither this process nor the server, except that
        `on_starting` may refuse the start.
        """
        self._host.begin(name)
        try:
            getattr(arguments[0].cfg, name)(*arguments)
        except BaseException as error:
            if name == "on_starting":
                text = f"the hook on_starting has failed\n{conf.describe(error)}"
                self._host.refuse(exit_code(error), text)
            else:
                self._host.failed(name, conf.describe(error))
        finally:
            self._host.end()


def exit_code(error: BaseException) -> int:
    """As in gunicorn: that of `sys.exit`, or 1."""
    if not isinstance(error, SystemExit):
        return 1
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else 1
