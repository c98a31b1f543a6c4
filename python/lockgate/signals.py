"""Signal handlers of Python: defaults in the supervisor, handlers in workers and fork servers.

The supervisor handles signals below Python. Workers have Python handlers, so that an application
can save the handler that it finds, install its own, and call the saved one to get the server's
behaviour. The supervisor's messages to a worker are not signals and need no handler.
"""

import os
import signal
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any

#: Signals that the supervisor handles.
HANDLED_BY_SUPERVISOR = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH, signal.SIGCHLD,
)  # fmt: skip

#: Signals that workers handle, or that must not end them.
HANDLED_BY_WORKERS = tuple(
    number for number in HANDLED_BY_SUPERVISOR if number is not signal.SIGCHLD
)


def prepare_supervisor() -> None:
    """Removes Python handlers that a wrapper, sitecustomize or an agent has installed for the
    supervisor's signals: they would run as well, and could end or delay the server."""
    for number in HANDLED_BY_SUPERVISOR:
        signal.signal(number, signal.SIG_DFL)
    # Python's default: writing to a worker that has just died fails with EPIPE instead of a signal.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def dispositions() -> dict[signal.Signals, Any]:
    """What `prepare_supervisor` changes, for `restore`."""
    changed = (*HANDLED_BY_SUPERVISOR, signal.SIGPIPE)
    return {number: signal.getsignal(number) for number in changed}


def restore(before: dict[signal.Signals, Any]) -> None:
    """A handler that is not Python's (None) cannot be restored."""
    for number, handler in before.items():
        if handler is not None:
            signal.signal(number, handler)


def are_those_of_a_worker() -> bool:
    """Whether this process is a worker or a fork server."""
    return isinstance(signal.getsignal(signal.SIGTERM), Relayed)


class Relayed:
    """The handler that the application finds. `deliver` performs the server's action, or
    returns False in a process that the application has forked."""

    def __init__(self, deliver: Callable[[int], bool]) -> None:
        self.deliver = deliver

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.deliver(number):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def __repr__(self) -> str:
        return "<Lockgate's signal handler>"


def install(deliver: Callable[[int], bool]) -> None:
    """Call in a worker or a fork server, before the application is imported."""
    handler = Relayed(deliver)
    for number in HANDLED_BY_WORKERS:
        signal.signal(number, handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def wake(descriptor: int) -> int:
    """Makes each signal with a Python handler write to `descriptor`; returns the previous wakeup
    descriptor, or -1."""
    return signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)


def give_back(descriptors: Collection[int]) -> None:
    """Restores default dispositions in a process that the application has forked. Handlers of the
    application stay, and so does a wakeup descriptor that is not in `descriptors`."""
    for number in HANDLED_BY_SUPERVISOR:
        known = signal.getsignal(number)
        if isinstance(known, Relayed | signal.Handlers) or known is None:
            signal.signal(number, signal.SIG_DFL)
    wakeup = signal.set_wakeup_fd(-1)
    if wakeup not in (-1, *descriptors):
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)


def block() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_BY_SUPERVISOR)


def unblock() -> None:
    """Unblocks all signals, including those that the parent process has blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
