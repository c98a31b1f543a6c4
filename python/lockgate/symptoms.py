"""Symptoms of a running server, for `lockgate doctor`: decisions on two samples of its numbers.

Each function takes the samples and yields what is wrong now, or was wrong since the start.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lockgate.admin_client import printable

WARNING = "warning"
CRITICAL = "critical"


@dataclass(frozen=True)
class Symptom:
    """What is wrong, and what to do."""

    id: str
    level: str
    text: str
    remedy: str
    #: A page of the documentation.
    page: str


@dataclass(frozen=True)
class Process:
    """A process of the server as /proc shows it; None where that is not readable."""

    pid: int
    name: str
    descriptors: int | None = None
    most_descriptors: int | None = None


@dataclass(frozen=True)
class Disk:
    """The file system of a log file."""

    file: str
    free: int
    size: int


@dataclass(frozen=True)
class Sample:
    """The answers of the admin listener at one moment, and what this host shows."""

    #: Seconds of any clock that only goes forward.
    moment: float
    status: Any
    metrics: Mapping[str, float]
    processes: tuple[Process, ...] = ()
    disks: tuple[Disk, ...] = ()
    #: Bytes that all processes of the server may have, if that is limited.
    memory_limit: int | None = None


@dataclass(frozen=True)
class Pair:
    """Two samples; rates are those between them."""

    before: Sample
    after: Sample
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", max(self.after.moment - self.before.moment, 1e-3))

    @property
    def status(self) -> Any:
        return self.after.status

    def now(self, name: str) -> float:
        return self.after.metrics.get(name, 0.0)

    def growth(self, name: str) -> float:
        return self.now(name) - self.before.metrics.get(name, 0.0)

    def labelled(self, name: str) -> dict[str, float]:
        """The values of a family by their labels, such as `worker="0"`."""
        start = f"{name}{{"
        return {
            key[len(start) : -1]: value
            for key, value in self.after.metrics.items()
            if key.startswith(start)
        }

    @property
    def workers(self) -> list[Any]:
        return [worker for worker in self.status["workers"] if worker["state"] == "serving"]


#: A view that takes this long is late for any browser.
SLOW_SECONDS = 10.0
#: The wait of one request in twenty for a thread, in seconds.
LONG_QUEUE, VERY_LONG_QUEUE = 0.1, 1.0
#: Shares of responses with 5xx, of descriptors and of memory.
FEW_FAILURES, MANY_FAILURES = 0.01, 0.1
ALMOST_ALL = 0.9
#: Days until a certificate expires. Those of Let's Encrypt are renewed at 30, later at a third.
SOON_DAYS, VERY_SOON_DAYS = 7, 2
#: Room on the disk of a log file.
LITTLE_ROOM = 100 << 20
#: Workers that have ended without an order since the start, for each hour that it runs.
ENDS_PER_HOUR = 1.0

SAMPLE = re.compile(r"([a-z_]+(?:\{[^}]*\})?) ([0-9.eE+-]+|\+?Inf|NaN)")


def parsed(metrics: str) -> dict[str, float]:
    """The samples of an answer in the text format of Prometheus, by name and labels."""
    found = {}
    for line in metrics.splitlines():
        if match := SAMPLE.fullmatch(line):
            found[match[1]] = float(match[2])
    return found


def quantile(pair: Pair, name: str, share: float) -> float | None:
    """The bound in seconds that this share of a histogram's values was below, between the samples.

    None without values; infinite above the last bound.
    """
    buckets = []
    for labels in pair.labelled(f"{name}_bucket"):
        bound = labels.partition('"')[2].rstrip('"')
        key = f"{name}_bucket{{{labels}}}"
        buckets.append((math.inf if bound == "+Inf" else float(bound), pair.growth(key)))
    buckets.sort()
    if not buckets or buckets[-1][1] <= 0:
        return None
    wanted = share * buckets[-1][1]
    return next(bound for bound, count in buckets if count >= wanted)


def serving(pair: Pair) -> Iterator[Symptom]:
    if not pair.workers:
        text = "no worker serves"
        remedy = "read the error log: it has the traceback of the import, or the cause of the end"
        yield Symptom("no-worker", CRITICAL, text, remedy, "docs/deploying.md")
    if pair.status.get("maintenance") == "on":
        text = "maintenance is on: clients get 503"
        remedy = "lockgate ctl maintenance auto ends it"
        yield Symptom("maintenance", WARNING, text, remedy, "docs/routes.md")


def threads(pair: Pair) -> Iterator[Symptom]:
    limits = pair.labelled("lockgate_threads_limit")
    for worker in pair.workers:
        limit = limits.get(f'worker="{worker["slot"]}"', math.inf)
        waiting = worker["requests_waiting"]
        if worker["threads_busy"] < limit or not waiting:
            continue
        text = (
            f"all {limit:.0f} threads of worker {worker['slot']} are in calls, and {waiting} "
            f"request{'s' * (waiting != 1)} wait"
        )
        remedy = "lockgate top shows what the calls do; then more threads, or a limit for slow ones"
        yield Symptom("threads-saturated", CRITICAL, text, remedy, "docs/threads.md")


def queue(pair: Pair) -> Iterator[Symptom]:
    wait = quantile(pair, "lockgate_queue_duration_seconds", 0.95)
    if wait is not None and wait > LONG_QUEUE:
        level = CRITICAL if wait > VERY_LONG_QUEUE else WARNING
        text = f"one request in twenty waits for a thread for {within(wait)}"
        remedy = "add threads if calls wait, and workers or CPUs if they compute"
        yield Symptom("queue-time", level, text, remedy, "docs/threads.md")


def within(bound: float) -> str:
    return "more than a minute" if math.isinf(bound) else f"up to {bound:g} s"


def slow(pair: Pair) -> Iterator[Symptom]:
    late = [
        (request["age"], request)
        for worker in pair.status["workers"]
        for request in worker["running"]
        if not request["websocket"] and request["age"] > SLOW_SECONDS
    ]
    if late:
        age, oldest = max(late, key=lambda pair: pair[0])
        what = printable(f"{oldest['method']} {oldest['target']}")
        text = f"{counted(len(late), 'request')} for more than {SLOW_SECONDS:g} s; the oldest: "
        text += f"{what}, {age:.0f} s"
        remedy = "lockgate top shows their lines of code; request_timeout ends such requests"
        yield Symptom("slow-requests", WARNING, text, remedy, "docs/observing.md")


def failures(pair: Pair) -> Iterator[Symptom]:
    classes = {name: pair.growth(name) for name in pair.after.metrics if is_response(name)}
    total = sum(classes.values())
    failed = sum(count for name, count in classes.items() if "5xx" in name)
    if failed and failed / total > FEW_FAILURES:
        level = CRITICAL if failed / total > MANY_FAILURES else WARNING
        text = f"{100 * failed / total:.0f} % of the responses have a status of 5xx now"
        remedy = "the error log has the tracebacks"
        yield Symptom("failures", level, text, remedy, "docs/logging.md")


def is_response(name: str) -> bool:
    return name.startswith("lockgate_responses_total{")


#: Reasons of lost requests that are faults of this side, and what to do.
LOST = {
    "queue_full": "queue_size is reached: the server is overloaded",
    "queue_timeout": "no thread became free in queue_timeout: the server is overloaded",
    "request_timeout": "calls take longer than request_timeout: the error log has their stacks",
    "aborted": "the application fails in the middle of responses: the error log has the tracebacks",
}


def lost(pair: Pair) -> Iterator[Symptom]:
    for reason, remedy in LOST.items():
        count = pair.growth(f'lockgate_requests_lost_total{{reason="{reason}"}}')
        if count > 0:
            text = f"{counted(int(count), 'request')} lost now ({reason})"
            yield Symptom("lost-requests", CRITICAL, text, remedy, "docs/observing.md")


#: Ends of workers that no operator has asked for.
UNASKED = ("timeout", "unfinished", "boot_failed", "out_of_memory", "killed", "signal", "exited")


def restarts(pair: Pair) -> Iterator[Symptom]:
    hours = max(pair.status["uptime"] / 3600, 1.0)
    for cause in UNASKED:
        name = f'lockgate_worker_exits_total{{cause="{cause}"}}'
        total, now = pair.now(name), pair.growth(name)
        if not total:
            continue
        is_frequent = now > 0 or total / hours > ENDS_PER_HOUR
        level = CRITICAL if is_frequent else WARNING
        text = f"{counted(int(total), 'worker')} ended without an order since the start ({cause})"
        remedy = "the error log has the cause and the requests that were in flight"
        yield Symptom("worker-ends", level, text, remedy, "docs/observing.md")


def reload(pair: Pair) -> Iterator[Symptom]:
    found = pair.status.get("reload") or {}
    if found.get("state") == "failed":
        lines = printable(found["why"].strip().splitlines()[-1]) if found["why"].strip() else ""
        text = f"the last reload has failed: {lines}" if lines else "the last reload has failed"
        remedy = "the old version serves; correct the new one, and reload again"
        yield Symptom("reload-failed", WARNING, text, remedy, "docs/deploying.md")


def certificates(pair: Pair) -> Iterator[Symptom]:
    for one in pair.status.get("certificates", []):
        days = one["expires_in_days"]
        if days > SOON_DAYS:
            continue
        level = CRITICAL if days <= VERY_SOON_DAYS else WARNING
        names = printable(", ".join(one["names"]) or one["source"])
        ends = "has expired" if days < 0 else f"expires in {counted(days, 'day')}"
        remedy = f"renew {printable(one['source'])}: the server loads the new files by itself"
        yield Symptom(
            "certificate", level, f"the certificate of {names} {ends}", remedy, "docs/tls.md"
        )
    for one in pair.status.get("renewals", []):
        if one["failures"]:
            text = (
                f"{counted(one['failures'], 'attempt')} to renew {printable(one['name'])} failed: "
            )
            text += printable(str(one["last_error"]))
            yield Symptom("renewal", WARNING, text, "correct what the error names", "docs/acme.md")


def memory(pair: Pair) -> Iterator[Symptom]:
    limit = pair.after.memory_limit
    used = sum(pair.labelled("lockgate_worker_memory_bytes").values())
    if limit and used > ALMOST_ALL * limit:
        text = f"the workers have {mib(used)} of {mib(limit)} that the control group may have"
        remedy = (
            "fewer workers, a larger limit, or max_worker_memory, which replaces workers in time"
        )
        yield Symptom("memory", CRITICAL, text, remedy, "docs/deploying.md")


def descriptors(pair: Pair) -> Iterator[Symptom]:
    for process in pair.after.processes:
        most, has = process.most_descriptors, process.descriptors
        if most and has and has > ALMOST_ALL * most:
            text = f"{process.name} (pid {process.pid}) has {has} of {most} descriptors"
            remedy = "raise LimitNOFILE, or find what keeps them: ls -l /proc/PID/fd"
            yield Symptom("descriptors", CRITICAL, text, remedy, "docs/checking.md")


def disks(pair: Pair) -> Iterator[Symptom]:
    for disk in pair.after.disks:
        if disk.free < min(LITTLE_ROOM, disk.size * (1 - ALMOST_ALL)):
            level = CRITICAL if not disk.free else WARNING
            text = f"the disk of {printable(disk.file)} has {mib(disk.free)} left"
            remedy = "log lines are lost when it is full: rotate or remove files"
            yield Symptom("log-disk", level, text, remedy, "docs/logging.md")


def shared(pair: Pair) -> Iterator[Symptom]:
    """The cache, rate limits and held connections."""
    if pair.after.metrics.get("lockgate_rate_limit_redis_up") == 0:
        text = "rate limits are not shared: Redis does not answer"
        remedy = "the error log says why; each host limits by itself meanwhile"
        yield Symptom("rate-limit-redis", WARNING, text, remedy, "docs/rate-limits.md")
    if pair.growth("lockgate_rate_limit_evicted_keys_total") > 0:
        text = "rate_limit_memory is full: clients are forgotten too early"
        yield Symptom("rate-limit-memory", WARNING, text, "raise it", "docs/rate-limits.md")
    if pair.growth('lockgate_held_requests_ended_total{reason="overrun"}') > 0:
        text = "held connections miss messages: push_memory is too small"
        yield Symptom("push-memory", WARNING, text, "raise push_memory", "docs/push.md")


#: In the order of the report.
CHECKS = (
    serving,
    threads,
    queue,
    lost,
    failures,
    slow,
    restarts,
    reload,
    certificates,
    memory,
    descriptors,
    disks,
    shared,
)


def examine(pair: Pair) -> list[Symptom]:
    """All symptoms, the critical ones first."""
    found = [symptom for check in CHECKS for symptom in check(pair)]
    return sorted(found, key=lambda symptom: symptom.level != CRITICAL)


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def mib(size: float) -> str:
    return f"{size / (1 << 20):.0f} MiB"
