"""Detection of monkey-patched threads: gevent and eventlet replace Python's threads and locks.

Requests run on real threads. A lock of such a library does not wake a thread that waits for it, so
two requests that need it at the same time can deadlock.
"""

import _thread
from collections.abc import Callable
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from typing import Any


class PatchedThreads(Exception):
    """Threads are patched, and `allow_patched_threads` is not set."""

    exit_code = 3


def patched_by() -> str | None:
    """The package that has replaced Python's locks, if any."""
    module = getattr(_thread.allocate_lock, "__module__", None) or "a library"
    return None if module == _thread.__name__ else module.partition(".")[0]


def refuse(when: str) -> None:
    """Raises PatchedThreads if threads are patched; `when` is for the message."""
    package = patched_by()
    if package is None:
        return
    call = {"gevent": "gevent.monkey.patch_all()", "eventlet": "eventlet.monkey_patch()"}
    raise PatchedThreads(
        f"{package} has replaced Python's threads and locks ({when}): Lockgate runs requests on "
        f"real threads, and two that want the same lock of {package} can hang for ever\n"
        f"  hint: remove {call.get(package, 'what does it')}; threads start as calls need them, so "
        "waiting for a database or another service needs no coroutines (setting: threads)\n"
        "  hint: if no lock is shared by two requests, set allow_patched_threads = true"
    )


def start_new_thread() -> Callable[..., Any]:
    """Python's own function, even if `_thread` is patched."""
    spec = BuiltinImporter.find_spec("_thread")
    if spec is None:
        raise ImportError("this Python has no threads")
    start: Callable[..., Any] = module_from_spec(spec).start_new_thread
    return start
