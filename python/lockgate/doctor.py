"""`lockgate doctor`: what is wrong with a running server now, in one page or for monitoring."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lockgate import admin_command
from lockgate.admin_client import Gone, Unreachable, ask, read_status
from lockgate.admin_command import duration, where
from lockgate.arguments import USAGE_ERROR, Parser
from lockgate.check.host import cgroup
from lockgate.check.report import COLOURS, RESET, wants_colours
from lockgate.symptoms import (
    CRITICAL,
    WARNING,
    Disk,
    Pair,
    Process,
    Sample,
    Symptom,
    counted,
    examine,
    mib,
    parsed,
    quantile,
)
from lockgate.top import age

DESCRIPTION = """\
Asks a running server through its admin listener, twice, and reports what is wrong: the wait for
threads, slow and lost requests, failures, workers that have ended, reloads, certificates, memory,
descriptors, and the disks of its logs. Rates are those between the two questions."""

EXAMPLES = {
    "lockgate doctor": "asks the server of lockgate.toml",
    "lockgate doctor --admin unix:/run/lockgate/admin.sock --interval 10": "over ten seconds",
    "lockgate doctor --json": "as JSON",
    "lockgate doctor --nagios": "one line, and the exit codes of Nagios and Icinga",
}
EXIT_CODES = {
    0: "nothing critical (with --strict: no warning either)",
    1: "something critical, or no answer",
    2: "wrong use of this command",
}

#: With `--nagios`.
NAGIOS = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}


def main(arguments: Sequence[str]) -> int:
    try:
        options = parser().parse_args(arguments)
    except SystemExit as end:
        # Plugins of Nagios have 2 for critical states only.
        is_wrong_use = "--nagios" in arguments and end.code == USAGE_ERROR
        return NAGIOS["UNKNOWN"] if is_wrong_use else int(end.code or 0)
    admin = getattr(options, "admin", None)
    if options.nagios:
        return nagios(admin, options.interval)

    def run(address: str) -> int:
        pair = examined(address, options.interval)
        found = examine(pair)
        print(as_json(pair, found) if options.json else "\n".join(page(pair, found)))
        levels = {symptom.level for symptom in found}
        return int(CRITICAL in levels or (options.strict and bool(levels)))

    return admin_command.run(admin, run)


def nagios(admin: str | None, interval: float) -> int:
    """One line as plugins of Nagios print it."""
    try:
        pair = examined(admin or admin_command.configured_address(), interval)
    except Gone as problem:
        print(f"LOCKGATE CRITICAL: {problem}")
        return NAGIOS["CRITICAL"]
    except (Unreachable, KeyError, TypeError, ValueError, AttributeError) as problem:
        text = problem if isinstance(problem, Unreachable) else f"an answer lacks {problem}"
        print(f"LOCKGATE UNKNOWN: {text}")
        return NAGIOS["UNKNOWN"]
    found = examine(pair)
    state = "OK" if not found else "CRITICAL" if found[0].level == CRITICAL else "WARNING"
    text = "; ".join(symptom.text for symptom in found) or headline(pair)
    # A pipe separates the text from figures there.
    print(f"LOCKGATE {state}: {text.replace('|', '/')}")
    return NAGIOS[state]


def examined(address: str, interval: float) -> Pair:
    before = sample(address)
    time.sleep(interval)
    after = sample(address)
    if before.status["pid"] != after.status["pid"]:
        # The server was started again: its counts begin with 0.
        return Pair(Sample(before.moment, after.status, {}), after)
    return Pair(before, after)


def sample(address: str) -> Sample:
    status = read_status(address)
    metrics = parsed(ask(address, "/metrics").decode())
    supervisor = status["pid"]
    if not is_here(supervisor):
        return Sample(time.monotonic(), status, metrics)
    return Sample(
        time.monotonic(),
        status,
        metrics,
        tuple(processes(status)),
        tuple(disks(supervisor)),
        cgroup("memory.max", str(supervisor)),
    )


def is_here(pid: int) -> bool:
    """Whether a process of this host with that number is Lockgate: the server may be on another
    host or in a container, where its number is that of another process here."""
    for name in ("cmdline", "maps"):
        try:
            if b"lockgate" in Path(f"/proc/{pid}/{name}").read_bytes():
                return True
        except OSError:
            # There is none, or only its own user may read its maps.
            continue
    return False


def processes(status: Any) -> Iterator[Process]:
    yield process(status["pid"], "the supervisor")
    for worker in status["workers"]:
        yield process(worker["pid"], f"worker {worker['slot']}")


def process(pid: int, name: str) -> Process:
    """Reads only what every process may show; the pid comes from the server's answer."""
    try:
        count = len(os.listdir(f"/proc/{pid}/fd"))
        limits = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return Process(pid, name)
    line = next((line for line in limits.splitlines() if line.startswith("Max open files")), "")
    words = line.split()
    most = int(words[3]) if len(words) > 3 and words[3].isdecimal() else None
    return Process(pid, name, count, most)


def disks(pid: int) -> Iterator[Disk]:
    """The file systems of the files that a process appends to, as its logs."""
    folder = Path(f"/proc/{pid}")
    seen = set()
    try:
        numbers = os.listdir(folder / "fd")
    except OSError:
        return
    for number in numbers:
        try:
            flags = int((folder / "fdinfo" / number).read_text().split("flags:")[1].split()[0], 8)
            file = os.readlink(folder / "fd" / number)
            if not flags & os.O_APPEND or not file.startswith("/") or not os.path.isfile(file):
                continue
            device = os.stat(file).st_dev
            found = os.statvfs(file)
        except (OSError, IndexError, ValueError):
            continue
        if device not in seen:
            seen.add(device)
            size = found.f_blocks * found.f_frsize
            yield Disk(file, found.f_bavail * found.f_frsize, size)


def headline(pair: Pair) -> str:
    """The figures of a server that is well."""
    answered = sum(
        pair.growth(name)
        for name in pair.after.metrics
        if name.startswith("lockgate_responses_total{")
    )
    busy = sum(worker["threads_busy"] for worker in pair.workers)
    limit = sum(pair.labelled("lockgate_threads_limit").values())
    memory = sum(pair.labelled("lockgate_worker_memory_bytes").values())
    wait = quantile(pair, "lockgate_queue_duration_seconds", 0.95)
    queue = "" if wait is None else f", 95 % wait for a thread for at most {wait:g} s"
    return (
        f"{counted(len(pair.workers), 'worker')}, {answered / pair.seconds:.1f} requests/s, "
        f"{busy} of {limit:.0f} threads busy{queue}, {mib(memory)}"
    )


def page(pair: Pair, found: list[Symptom]) -> list[str]:
    status = pair.status
    has_colours = wants_colours(os.environ, sys.stdout.isatty())
    lines = [
        f"lockgate {status['version']}  pid {status['pid']}  up {age(status['uptime'])}",
        headline(pair),
        "",
    ]
    for symptom in found:
        level = symptom.level
        if has_colours:
            colour = COLOURS["error" if level == CRITICAL else WARNING]
            level = f"{colour}{level}{RESET}"
        lines.append(f"{level}: {symptom.text}")
        lines.append(f"    {symptom.id}: {symptom.remedy} ({symptom.page})")
    return lines if found else [*lines, "nothing is wrong"]


def as_json(pair: Pair, found: list[Symptom]) -> str:
    whole = {
        "version": pair.status["version"],
        "pid": pair.status["pid"],
        "uptime": pair.status["uptime"],
        "seconds": round(pair.seconds, 3),
        "summary": headline(pair),
        "critical": sum(symptom.level == CRITICAL for symptom in found),
        "warnings": sum(symptom.level == WARNING for symptom in found),
        "symptoms": [vars(symptom) for symptom in found],
    }
    return json.dumps(whole, indent=2)


def parser() -> Parser:
    made = Parser(
        "lockgate doctor",
        DESCRIPTION,
        examples=EXAMPLES,
        exit_codes=EXIT_CODES,
        parents=[where()],
    )
    made.add_argument("--json", action="store_true", help="print the report as JSON")
    made.add_argument("--strict", action="store_true", help="exit with 1 also for warnings")
    made.add_argument(
        "--nagios",
        action="store_true",
        help="print one line; exit with 0 (ok), 1 (warning), 2 (critical) or 3 (unknown)",
    )
    made.add_argument(
        "--interval",
        type=duration,
        default=2.0,
        metavar="SECONDS",
        help="time between the two questions",
    )
    return made
