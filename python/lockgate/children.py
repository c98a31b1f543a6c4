"""Processes that the application forks from a worker: they are its own, and no workers.

`multiprocessing` and `os.fork` copy a worker with all that it has taken over. A child gives that
back: signals mean what they mean to any process, and the server's sockets are not held open.
"""

import os
import signal
from collections.abc import Callable, Iterable

#: What a worker listens to, and what it keeps quiet.
TAKEN_OVER = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH")


def settle_when_forked(inherited: Callable[[], Iterable[int] | None]) -> None:
    """From now on children of this process settle; `inherited` tells the server's descriptors, or
    None in a child of the server's own."""

    def after_in_child() -> None:
        descriptors = inherited()
        if descriptors is not None:
            settle(descriptors)

    os.register_at_fork(after_in_child=after_in_child)


def settle(descriptors: Iterable[int]) -> None:
    for name in TAKEN_OVER:
        number = getattr(signal, f"SIG{name}")
        # What Python knows is what was there before the server, or what the application has set.
        known = signal.getsignal(number)
        if not callable(known) or isinstance(known, signal.Handlers):
            signal.signal(number, signal.SIG_DFL if known is None else known)
    release(descriptors)


def release(descriptors: Iterable[int]) -> None:
    """Puts something harmless in the place of each: whoever still uses the number hurts nobody."""
    try:
        harmless = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        for number in descriptors:
            os.close(number)
        return
    for number in descriptors:
        os.dup2(harmless, number, inheritable=False)
    os.close(harmless)
