"""Detection of threads and sockets that an import has left in a fork server, or a program before it
serves: threads do not survive the fork of a worker, and all workers would share the sockets.

Workers share the resource tracker of multiprocessing on purpose.
"""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path


def sockets() -> set[int]:
    """The descriptors of sockets."""
    return {number for number, target in _descriptors() if target.startswith("socket:")}


def leftovers(before: set[int]) -> list[str]:
    """Describes each thread, and each socket that is not in `before`."""
    found = [f"{thread} not copied to workers" for thread in threads("is", "are")]
    for number in sorted(sockets() - before):
        found.append(f"{_described(number)} is shared by all workers")
    return found


def share_resource_tracker() -> None:
    """Lets workers use the semaphores of a pool that the import has made until they end.

    The tracker deletes them once no process has its pipe, and the fork server ends first. Python
    3.14 passes the pipe on only if this flag of the forking thread is set, 3.13 at each fork.
    """
    intent = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_fork_intent", None)
    if intent is not None:
        intent.preserve_fd = True
        # Runs behind the hook of the tracker: what a worker forks has nothing to do with it.
        os.register_at_fork(after_in_child=lambda: setattr(intent, "preserve_fd", False))


def threads(one: str = "", several: str = "") -> list[str]:
    """A phrase for each thread of Python, and for all others together, with these verbs."""
    main = threading.main_thread()
    others = [thread for thread in threading.enumerate() if thread is not main]
    found = [f"the thread {thread.name!r} {one}".rstrip() for thread in others]
    foreign = len(list(Path("/proc/self/task").iterdir())) - 1 - len(others)
    if foreign > 0:
        found.append(f"{foreign} threads that are not Python's {several}".rstrip())
    return found


def _described(number: int) -> str:
    try:
        with socket.socket(fileno=os.dup(number)) as known:
            family = known.family.name
            try:
                return f"the connection to {_place(known.getpeername())} ({family})"
            except OSError:
                return f"the socket at {_place(known.getsockname())} ({family})"
    except OSError as error:
        return f"the socket with descriptor {number} ({error})"


def _place(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return repr(address)


def _descriptors() -> Iterator[tuple[int, str]]:
    for entry in os.listdir("/proc/self/fd"):
        try:
            yield int(entry), os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue  # the descriptor of the listing itself
