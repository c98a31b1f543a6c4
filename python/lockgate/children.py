"""Processes that the application forks from a worker: they are its own, and no workers.

`multiprocessing` and `os.fork` copy a worker with all that it has taken over. A child gives that
back: signals mean what they mean to any process, and the server's sockets, pipes and events are not
held open.
"""

import os
from collections.abc import Callable, Collection

from lockgate import signals


def settle_when_forked(inherited: Callable[[], Collection[int] | None]) -> None:
    """From now on children of this process settle; `inherited` tells the server's descriptors, or
    None in a child of the server's own."""

    def after_in_child() -> None:
        descriptors = inherited()
        if descriptors is not None:
            settle(descriptors)

    os.register_at_fork(after_in_child=after_in_child)


def settle(descriptors: Collection[int]) -> None:
    signals.give_back(descriptors)
    release(descriptors)


def release(descriptors: Collection[int]) -> None:
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
