"""Child processes that the application forks from a worker or fork server.

`multiprocessing` and `os.fork` copy a worker with its signal handlers and descriptors. An at-fork
hook restores default signal dispositions in the child, and closes the server's sockets, pipes and
events there.
"""

import os
from collections.abc import Callable, Collection

from lockgate import signals


def prepare_forked_children(
    inherited: Callable[[], Collection[int] | None],
    begin_fork: Callable[[], None],
    end_fork: Callable[[], None],
) -> None:
    """Registers the at-fork hooks. `inherited` returns the server's descriptors, or None in a child
    that the server itself has forked. No connection is accepted between `begin_fork` and
    `end_fork`, which is for the parent: the child would not know that it has a copy."""

    _register(inherited, begin_fork, end_fork, settle)


def prepare_children_of_program(
    inherited: Callable[[], Collection[int] | None],
    begin_fork: Callable[[], None],
    end_fork: Callable[[], None],
) -> None:
    """As `prepare_forked_children`, in a program that serves beside its other work. Its signal
    dispositions are its own."""
    _register(inherited, begin_fork, end_fork, release)


def _register(
    inherited: Callable[[], Collection[int] | None],
    begin_fork: Callable[[], None],
    end_fork: Callable[[], None],
    settle: Callable[[Collection[int]], None],
) -> None:
    def after_in_child() -> None:
        descriptors = inherited()
        if descriptors is not None:
            settle(descriptors)

    os.register_at_fork(before=begin_fork, after_in_parent=end_fork, after_in_child=after_in_child)


def settle(descriptors: Collection[int]) -> None:
    signals.give_back(descriptors)
    release(descriptors)


def release(descriptors: Collection[int]) -> None:
    """Replaces each descriptor by /dev/null, in case objects of the parent still use the number."""
    try:
        devnull = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        for number in descriptors:
            os.close(number)
        return
    for number in descriptors:
        os.dup2(devnull, number, inheritable=False)
    os.close(devnull)
