"""Facts about the host that a server runs on, as far as this process may read them."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

#: struct timex, which adjtimex(2) fills in; larger than on any architecture.
TIMEX_BYTES = 512
#: The return value for a clock that nothing keeps right.
TIME_ERROR = 5


@dataclass(frozen=True)
class Host:
    """None: not known on this system."""

    descriptors: int | None = None
    somaxconn: int | None = None
    overcommit: int | None = None
    #: Bytes that the processes of the server may have together, and those of this process.
    memory: int | None = None
    own_memory: int | None = None
    pids: int | None = None
    is_clock_right: bool | None = None


def read() -> Host:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Host(
        descriptors=None if hard == resource.RLIM_INFINITY else hard,
        somaxconn=number("/proc/sys/net/core/somaxconn"),
        overcommit=number("/proc/sys/vm/overcommit_memory"),
        memory=memory(),
        own_memory=own_memory(),
        pids=cgroup("pids.max"),
        is_clock_right=is_clock_right(),
    )


def number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def cgroup(name: str, process: str = "self") -> int | None:
    """The smallest limit of the control group of a process and those around it (version 2)."""
    try:
        lines = Path(f"/proc/{process}/cgroup").read_text().splitlines()
    except OSError:
        return None
    group = next((line[3:] for line in lines if line.startswith("0::")), None)
    if group is None:
        return None
    root = Path("/sys/fs/cgroup")
    places = [root / part for part in (group.lstrip("/"), *map(str, Path(group[1:]).parents))]
    found = [limit for place in places if (limit := number(str(place / name))) is not None]
    return min(found, default=None)


def memory() -> int | None:
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        pages = None
    limits = [limit for limit in (pages, cgroup("memory.max")) if limit]
    return min(limits, default=None)


def own_memory() -> int | None:
    try:
        resident = Path("/proc/self/statm").read_text().split()[1]
        return int(resident) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def is_clock_right() -> bool | None:
    """Whether a service such as chrony keeps the clock right. Asks only; the mode is 0."""
    try:
        # A Python that was built without libffi has no ctypes.
        import ctypes

        adjust = ctypes.CDLL(None).adjtimex
    except (ImportError, OSError, AttributeError):
        return None
    state = adjust(ctypes.create_string_buffer(TIMEX_BYTES))
    return None if state < 0 else state != TIME_ERROR
