"""Rules for the host: limits, kernel settings, memory, clock."""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.check import paragraphs
from lockgate.check.finding import WARNING, Finding, Rule
from lockgate.check.host import Host
from lockgate.check.settings import Settings

SECTION = paragraphs.checking("limits-and-kernel-settings")

DESCRIPTORS = Rule(
    "host-descriptors",
    WARNING,
    SECTION,
    "The hard limit of descriptors (`ulimit -Hn`, `LimitNOFILE`) is above `worker_connections`.",
)
SOMAXCONN = Rule(
    "host-somaxconn",
    WARNING,
    SECTION,
    "`net.core.somaxconn` is at least `backlog`: the kernel shortens the queue to it.",
)
OVERCOMMIT = Rule(
    "host-overcommit",
    WARNING,
    SECTION,
    "`vm.overcommit_memory` is not 2: else forks of a large application fail.",
)
MEMORY = Rule(
    "host-memory",
    WARNING,
    SECTION,
    "The memory, or `memory.max` of the control group, is enough for all workers.",
)
PIDS = Rule(
    "host-pids",
    WARNING,
    SECTION,
    "`pids.max` of the control group (`TasksMax`) is above the number of threads.",
)
CLOCK = Rule(
    "host-clock",
    WARNING,
    SECTION,
    "A service such as chrony keeps the clock right: certificates and signed cookies need it.",
)

RULES = (DESCRIPTORS, SOMAXCONN, OVERCOMMIT, MEMORY, PIDS, CLOCK)

#: Files, logs and pipes of a worker beside its connections.
OTHER_DESCRIPTORS = 100
#: Threads of a worker beside those that run requests, and other processes.
OTHER_THREADS = 8
MIB = 1 << 20


def check(host: Host, settings: Settings) -> Iterator[Finding]:
    connections = settings["worker_connections"]
    needed = connections + OTHER_DESCRIPTORS
    if host.descriptors is not None and host.descriptors < needed:
        yield Finding(
            DESCRIPTORS,
            f"the hard limit of descriptors is {host.descriptors}, and worker_connections is "
            f"{connections}",
        )
    backlog = settings["backlog"]
    if host.somaxconn is not None and host.somaxconn < backlog:
        text = f"net.core.somaxconn is {host.somaxconn}, and backlog is {backlog}"
        yield Finding(SOMAXCONN, text)
    if host.overcommit == 2:
        yield Finding(OVERCOMMIT, "vm.overcommit_memory is 2")
    yield from memory(host, settings)
    threads = settings.workers * (settings.threads + OTHER_THREADS)
    if host.pids is not None and host.pids < threads:
        text = f"pids.max is {host.pids}, and {settings.workers} workers may need {threads} threads"
        yield Finding(PIDS, text)
    if host.is_clock_right is False:
        yield Finding(CLOCK, "the kernel says that nothing keeps the clock right")


def memory(host: Host, settings: Settings) -> Iterator[Finding]:
    if host.memory is None or host.own_memory is None:
        return
    needed = host.own_memory * settings.workers
    if needed > host.memory:
        yield Finding(
            MEMORY,
            f"{settings.workers} workers need {needed // MIB} MiB, because the application has "
            f"{host.own_memory // MIB} MiB after its import, and there are {host.memory // MIB}",
        )
