"""Lockgate inside a Python program: `Server`, a worker in the calling process, and `serve`.

A `Server` needs no supervisor and changes nothing that belongs to the whole process: signal
handlers, `sys.path`, environment, logging and the garbage collector stay as the program has them.
"""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeAlias
from weakref import WeakSet

from lockgate import _lockgate, keywords, patching, signals
from lockgate._lockgate import EmbeddedSettings, EmbeddedWorker
from lockgate.keywords import Application

Path: TypeAlias = str | os.PathLike[str]

#: How long running requests may take when the program ends without `stop()`.
EXIT_TIMEOUT = 1.0

#: How long threads without a request may take to end; they need microseconds.
_THREADS_TIMEOUT = 1.0

_running: WeakSet["Server"] = WeakSet()


class Server:
    """Serves a WSGI application in threads of this process.

    Settings are Lockgate's, or gunicorn's, by name: `bind="127.0.0.1:0"`, `threads=4`. `host` and
    `port` may stand for `bind`. Port 0 is a free port, which `port` and `url` name after `start()`.
    Neither the environment nor a configuration file is read.

    Raises ValueError when a setting is wrong, or would need a supervisor.
    """

    def __init__(self, app: Application, **settings: object) -> None:
        self._use(app, EmbeddedSettings(keywords.dumps(app, settings)))

    @classmethod
    def with_settings(cls, app: Application, settings: EmbeddedSettings) -> "Server":
        """For `lockgate dev`, whose settings have other sources."""
        server = cls.__new__(cls)
        server._use(app, settings)
        return server

    def _use(self, app: Application, settings: EmbeddedSettings) -> None:
        self._app = keywords.checked(app)
        self._settings = settings
        self._worker: EmbeddedWorker | None = None
        self._changing = threading.Lock()
        self._process = os.getpid()
        self._threads: WeakSet[threading.Thread] = WeakSet()

    def start(self) -> None:
        """Returns when the server listens. Raises OSError when it cannot."""
        if self._process != os.getpid():
            # A thread that does not exist in this child may hold the lock.
            self._changing, self._process = threading.Lock(), os.getpid()
        with self._changing:
            if self._serving() is not None:
                raise RuntimeError("the server is running already")
            if not self._settings.allow_patched_threads:
                patching.refuse("by this program")
            self._worker = self._settings.start(self._app, self._start_thread)
            _running.add(self)
            _stop_at_exit()

    def stop(self, timeout: float | None = None) -> None:
        """Accepts nothing new, waits for running requests, and returns when the server has ended.

        Requests that take longer than `timeout` seconds (setting: graceful_timeout) lose their
        clients; their threads end when the application returns. Called by a request, it returns
        at once, and the server ends after that request. May be called from any thread, and twice.
        """
        worker = self._serving()
        if worker is None:
            self._forget_worker()
            return
        worker.drain()
        if threading.current_thread() in self._threads:
            return
        patience = self._settings.graceful_timeout if timeout is None else timeout
        if not worker.wait(patience):
            worker.stop()
            worker.wait(_THREADS_TIMEOUT)
        else:
            self._join_threads()
        _running.discard(self)
        self._forget_worker()

    def wait(self) -> None:
        """Returns when the server has been stopped; raises RuntimeError if it has failed."""
        worker = self._here()
        if worker is not None:
            worker.wait()
            if worker.has_failed:
                raise RuntimeError("the server has failed: its error log says why")

    @property
    def addresses(self) -> list[str]:
        """Where the server listens."""
        return self._listening().addresses

    @property
    def port(self) -> int:
        """The port of the first TCP address."""
        return self._place()[2]

    @property
    def url(self) -> str:
        """The first TCP address as a URL without a path, for clients on this machine."""
        scheme, host, port = self._place()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def __enter__(self) -> "Server":
        if self._serving() is None:
            self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        worker = self._serving()
        state = "not running" if worker is None else f"listening at {', '.join(worker.addresses)}"
        return f"<lockgate.Server {keywords.name_of(self._app)}, {state}>"

    def _here(self) -> EmbeddedWorker | None:
        """The last worker, unless it was started before a fork."""
        worker = self._worker
        return worker if worker is not None and worker.is_here else None

    def _serving(self) -> EmbeddedWorker | None:
        worker = self._here()
        return None if worker is None or worker.is_finished else worker

    def _listening(self) -> EmbeddedWorker:
        worker = self._serving()
        if worker is None:
            raise RuntimeError("the server is not running: call start()")
        return worker

    def _place(self) -> tuple[str, str, int]:
        place = self._listening().place
        if place is None:
            raise RuntimeError("the server listens on no TCP address: see addresses")
        return place

    def _forget_worker(self) -> None:
        """An ended worker has its application, which may refer to this server: a cycle that
        Python's collector cannot see."""
        # Without waiting: a thread that starts this server replaces its worker.
        if self._process != os.getpid() or not self._changing.acquire(blocking=False):
            return
        try:
            worker = self._worker
            if worker is not None and worker.is_finished and not worker.has_failed:
                self._worker = None
        finally:
            self._changing.release()

    def _start_thread(self, target: Callable[[], None], name: str) -> None:
        if patching.patched_by() is not None:
            patching.start_new_thread()(target, ())
            return
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.add(thread)
        _pool_threads.add(thread)
        thread.start()

    def _join_threads(self) -> None:
        until = time.monotonic() + _THREADS_TIMEOUT
        for thread in list(self._threads):
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))


def serve(app: Application | str, *, config: Path | None = None, **settings: object) -> None:
    """Serves a WSGI application until the server is asked to stop (TERM, INT).

    On the main thread this process becomes the supervisor, and workers are forked from it: they
    inherit the application. `app` may be a name instead, `"module:attribute"`, which each worker
    imports. Settings are Lockgate's, or gunicorn's, by name; they override those of the environment
    and of the configuration file, as on the command line.

    Raises ValueError when a setting is wrong, and SystemExit with the server's exit code when it
    cannot start or no worker can load the application; its log says why. In a worker it does not
    return.

    On another thread it is a `Server` that serves until the program ends.
    """
    if not isinstance(app, str):
        checked = keywords.checked(app)
    if threading.current_thread() is threading.main_thread():
        provide = None if isinstance(app, str) else lambda: checked
        supervise(provide, keywords.dumps(app, settings), config)
        return
    if isinstance(app, str) or config is not None:
        refused = "a name of an application" if isinstance(app, str) else "config"
        raise ValueError(f"{refused} needs a supervisor, and so the main thread")
    with Server(checked, **settings) as server:
        server.wait()


def supervise(
    provide: Callable[[], object] | None,
    settings: str,
    config: Path | None = None,
    reads_default_file: bool = True,
) -> None:
    """Serves with a supervisor and workers. Each worker calls `provide` for the application."""
    if signals.are_those_of_a_worker():
        raise RuntimeError(
            "a worker of Lockgate cannot serve with workers of its own: call this under "
            'if __name__ == "__main__", or not at all'
        )
    before = signals.dispositions()
    named = None if config is None else os.fspath(config)
    try:
        code = _lockgate.serve(provide, settings, named, reads_default_file)
    finally:
        signals.restore(before)
    if code != 0:
        sys.exit(code)


#: How long it may take until calls notice `_Halt`; those in C code do not.
_HALT_TIMEOUT = 0.2
_pool_threads: WeakSet[threading.Thread] = WeakSet()
_halted: set[threading.Thread] = set()
_is_registered = False


def _stop_at_exit() -> None:
    """Python ends its interpreter under running threads, so they end first."""
    global _is_registered
    if not _is_registered:
        _is_registered = True
        atexit.register(_stop_all)


def _stop_all() -> None:
    for server in list(_running):
        server.stop(EXIT_TIMEOUT)
    alive = {thread for thread in threading.enumerate() if thread in _pool_threads}
    for thread in alive:
        _lockgate.raise_in_thread(thread.ident or 0, _Halt)
    until = time.monotonic() + _HALT_TIMEOUT
    while alive - _halted and time.monotonic() < until:
        time.sleep(0.001)


class _Halt(BaseException):
    """Raised at the end of the program in calls that still run. Python ends a thread that needs the
    interpreter after its end by unwinding its stack, which aborts the process when functions that
    are not C's are on it. A thread that creates this exception sleeps instead.
    """

    def __new__(cls, *arguments: object) -> "_Halt":
        _halted.add(threading.current_thread())
        while True:
            time.sleep(3600)


__all__ = ["Server", "serve"]
