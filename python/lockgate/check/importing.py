"""What the import of the application does to its process: a watch on it, with places."""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from lockgate.check import places
from lockgate.check.finding import Place

#: Audit events (PEP 578) that are recorded, by what they mean.
EVENTS = {
    "subprocess.Popen": "child",
    "os.fork": "child",
    "os.forkpty": "child",
    "os.posix_spawn": "child",
    "socket.__new__": "socket",
    "socket.bind": "socket",
    "socket.connect": "socket",
    "sqlite3.connect": "sqlite",
    "os.chdir": "chdir",
    "os.putenv": "putenv",
    "os.unsetenv": "putenv",
    "open": "open",
}


#: Packages whose servers bind a port and then serve on the calling thread.
SERVERS = ("werkzeug", "waitress", "uvicorn", "hypercorn", "cheroot", "bjoern", "gunicorn")


class ServesItself(BaseException):
    """The import would serve, and not return."""


@dataclass
class Event:
    kind: str
    arguments: tuple[Any, ...]
    place: Place | None


@dataclass(frozen=True)
class Socket:
    """An open socket of this process."""

    inode: str
    is_listening: bool
    peer: str


@dataclass(frozen=True)
class State:
    """The state of this process."""

    threads: dict[int, str]
    sockets: dict[str, Socket]
    children: dict[int, str]
    handlers: dict[int, Any]
    directory: str
    umask: int


@dataclass
class Watch:
    """Records events between `with` and its end. Python keeps audit hooks for ever, so this is for
    programs that end soon."""

    events: list[Event] = field(default_factory=list)
    #: Where handlers of signals were installed.
    handlers: dict[int, Place | None] = field(default_factory=dict)
    #: Where threads were started, by their identifiers.
    threads: dict[int, Place | None] = field(default_factory=dict)
    #: Where the module starts a server that would not return.
    serves_at: Place | None = None
    serves: bool = False
    _is_active: bool = False
    _replaced: list[tuple[Any, str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        sys.addaudithook(self._on_event)

    def __enter__(self) -> Watch:
        self._is_active = True
        signal_, start = signal.signal, threading.Thread.start

        def recorded_signal(number: int, handler: Any) -> Any:
            self.handlers[int(number)] = places.own_frame(sys._getframe(1))
            return signal_(number, handler)

        def recorded_start(thread: threading.Thread) -> None:
            start(thread)
            self.threads[thread.ident or 0] = places.own_frame(sys._getframe(1))

        serve = socketserver.BaseServer.serve_forever

        def refused_serve(server: socketserver.BaseServer, poll_interval: float = 0.5) -> None:
            if threading.current_thread() is threading.main_thread():
                self._on_serving()
            serve(server, poll_interval)

        self._replace(signal, "signal", recorded_signal)
        self._replace(threading.Thread, "start", recorded_start)
        self._replace(socketserver.BaseServer, "serve_forever", refused_serve)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_active = False
        while self._replaced:
            setattr(*self._replaced.pop())

    def _replace(self, owner: Any, name: str, function: Callable[..., Any]) -> None:
        self._replaced.append((owner, name, getattr(owner, name)))
        setattr(owner, name, function)

    def _on_serving(self) -> None:
        self.serves, self.serves_at = True, places.own_frame(sys._getframe(1))
        raise ServesItself

    def _on_event(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self._is_active and (kind := EVENTS.get(name)):
            place = places.own_frame(sys._getframe(1))
            # Opened files are many; only those of the application's own lines matter.
            if kind != "open" or place is not None:
                self.events.append(Event(kind, arguments, place))
            if name == "socket.bind" and is_server(sys._getframe(1)):
                self._on_serving()

    def place(self, kind: str) -> Place | None:
        """Of the first event of that kind in the application's own code."""
        found = [event.place for event in self.events if event.kind == kind and event.place]
        return found[0] if found else None


def is_server(frame: FrameType | None) -> bool:
    """Whether the main thread is in a function of a server."""
    if threading.current_thread() is not threading.main_thread():
        return False
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in SERVERS:
            return True
        frame = frame.f_back
    return False


def state() -> State:
    umask = os.umask(0)
    os.umask(umask)
    return State(
        threads={thread.ident or 0: thread.name for thread in threading.enumerate()},
        sockets=sockets(),
        children=children(),
        handlers={int(number): signal.getsignal(number) for number in signal.valid_signals()},
        directory=directory(),
        umask=umask,
    )


def directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def descriptors() -> dict[int, str]:
    """What each open descriptor leads to."""
    found = {}
    for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            found[int(number)] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            # That of the listing itself is closed again.
            continue
    return found


def sockets() -> dict[str, Socket]:
    found = {}
    for number, target in descriptors().items():
        if target.startswith("socket:"):
            try:
                with socket.socket(fileno=os.dup(number)) as one:
                    if (described := describe(one, target)) is not None:
                        found[target] = described
            except OSError:
                continue
    return found


def describe(one: socket.socket, inode: str) -> Socket | None:
    """None for a pair of sockets, which belongs to this process alone."""
    is_listening = bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    try:
        peer = one.getpeername()
    except OSError:
        peer = None
    if one.family == socket.AF_UNIX and not one.getsockname() and not peer:
        return None
    if is_listening or peer is None:
        address: Any = one.getsockname()
    else:
        address = peer
    if isinstance(address, tuple):
        address = f"{address[0]}:{address[1]}"
    return Socket(inode, is_listening, str(address) or "no address")


def children() -> dict[int, str]:
    """Running child processes that outlive this one if nothing ends them, and their names."""
    found = {}
    own = str(os.getpid())
    tracker = resource_tracker()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text(errors="replace")
        except OSError:
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        pid = int(entry.parent.name)
        if len(fields) > 1 and fields[1] == own and fields[0] != "Z" and pid != tracker:
            found[pid] = name
    return found


def resource_tracker() -> int | None:
    """That of multiprocessing, which any lock starts from Python 3.14 on. It ends by itself."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    pid: int | None = getattr(getattr(module, "_resource_tracker", None), "_pid", None)
    return pid
