"""Signals as Python knows them: defaults in the supervisor, handlers in workers and templates.

The supervisor has handlers of its own below Python. Workers have Python handlers, so that an
application that saves the handler it finds, installs its own and calls the saved one gets what the
server does with the signal. Orders of the supervisor are no signals and need no handler.
"""

import os
import signal
from collections.abc import Callable, Collection
from types import FrameType

#: Signals that the supervisor handles.
HEARD = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH, signal.SIGCHLD,
)  # fmt: skip

#: Signals that workers handle, or that must not end them.
HEARD_BY_WORKERS = tuple(number for number in HEARD if number is not signal.SIGCHLD)


def prepare_supervisor() -> None:
    """Leaves no Python handler of a wrapper, of sitecustomize or of an agent for a signal that the
    supervisor handles: it would run beside the supervisor's own, and end or delay the server."""
    for number in HEARD:
        signal.signal(number, signal.SIG_DFL)
    # Python's default: writing to a worker that has just died fails with EPIPE instead of a signal.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


class Relayed:
    """The handler that the application finds. `deliver` does what the server does with the signal,
    or says False in a process that the application has forked."""

    def __init__(self, deliver: Callable[[int], bool]) -> None:
        self.deliver = deliver

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.deliver(number):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def __repr__(self) -> str:
        return "<Lockgate's handler of signals>"


def install(deliver: Callable[[int], bool]) -> None:
    """To be called in a worker or a template before the application is imported."""
    handler = Relayed(deliver)
    for number in HEARD_BY_WORKERS:
        signal.signal(number, handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def wake(descriptor: int) -> int:
    """From now on a signal that has a Python handler writes to `descriptor`; gives the descriptor
    that was written to before, or -1."""
    return signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)


def give_back(descriptors: Collection[int]) -> None:
    """In a process that the application has forked signals mean what they mean to any process.
    Handlers of the application stay, and a wakeup descriptor that is not of `descriptors`."""
    for number in HEARD:
        known = signal.getsignal(number)
        if isinstance(known, Relayed | signal.Handlers) or known is None:
            signal.signal(number, signal.SIG_DFL)
    wakeup = signal.set_wakeup_fd(-1)
    if wakeup not in (-1, *descriptors):
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)


def block() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)


def unblock() -> None:
    """All of them, also what the process that started this one has blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
