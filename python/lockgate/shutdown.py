"""Application shutdown at process exit: joins threads as a Python program does at its end, and
names the threads and processes that a slow exit waits for.
"""

import os
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any
from weakref import WeakSet

#: Frames of the standard library show how a thread waits; those of the application show why.
_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
_OWN_FILE = __file__

_server_threads: WeakSet[threading.Thread] = WeakSet()


def enter_server_thread() -> None:
    """Call on each thread of the server. It was started as a daemon, so that the exit does not wait
    for it; a thread that the application starts in a request would inherit the flag."""
    thread = threading.current_thread()
    thread._daemonic = False  # type: ignore[attr-defined]
    _server_threads.add(thread)


def finish_threads() -> None:
    """Python's own shutdown of threads: callbacks of executors, then a join of each non-daemon
    thread. The server's threads are daemons."""
    _forget_processes_of_others()
    shutdown = getattr(threading, "_shutdown")  # noqa: B009  (unknown to typeshed)
    shutdown()


def _forget_processes_of_others() -> None:
    """In a worker that a fork server has forked, `multiprocessing` still lists the processes that
    the fork server has started: its exit function would terminate them for all other workers, and
    then fail because this process cannot join them."""
    children = _children()
    children -= {process for process in children if process._parent_pid != os.getpid()}


def _children() -> set[Any]:
    """The processes that `multiprocessing` has started in this process or before a fork."""
    module = sys.modules.get("multiprocessing.process")
    children: set[Any] = getattr(module, "_children", set())
    return children


def waits_for() -> list[str]:
    """A phrase for each thread and each process that the exit waits for, or for the exit function
    that runs."""
    frames = sys._current_frames()
    main = threading.main_thread()
    found = [
        f"the thread {thread.name!r}{_place(frames.get(thread.ident or 0))}"
        for thread in threading.enumerate()
        if thread is not main and not thread.daemon and thread not in _server_threads
    ]
    found += [
        f"the process {process.name!r} (pid {process.pid})"
        for process in sorted(_children(), key=lambda process: process.pid or 0)
        if process._parent_pid == os.getpid()
    ]
    return found or [f"an exit function{_place(frames.get(main.ident or 0))}"]


def _place(frame: FrameType | None) -> str:
    """The innermost frame outside the standard library, or the innermost frame."""
    frames = list(_outwards(frame))
    if not frames:
        return ""
    chosen = next((frame for frame in frames if not _is_standard(frame)), frames[0])
    code = chosen.f_code
    return f" at {code.co_filename}:{chosen.f_lineno} in {code.co_name}"


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        if frame.f_code.co_filename != _OWN_FILE:
            yield frame
        frame = frame.f_back


def _is_standard(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    is_frozen = file.startswith("<frozen ")
    is_below = file.startswith(_STANDARD_LIBRARY) and "site-packages" not in file
    return is_frozen or is_below
