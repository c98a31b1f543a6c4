"""Runs wrk against a URL and parses its output."""

from __future__ import annotations

import re
import resource
import subprocess
from dataclasses import dataclass

from catalogue import Scenario
from process import BENCH

MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class LoadFailed(Exception):
    """wrk printed no figures; the text is its output."""


@dataclass
class Load:
    requests: int
    rate: float
    p50: float | None
    p99: float | None
    # Counts by kind (connect, read, write, timeout, status); empty when all went well.
    errors: dict[str, int]
    # Processor seconds of wrk itself.
    processor: float


def wrk_command(
    scenario: Scenario, port: int, seconds: int, connections: int, core: int | None
) -> list[str]:
    command = [] if core is None else ["taskset", "-c", str(core)]
    command += ["wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", "5s", "--latency"]
    if scenario.script:
        command += ["--script", scenario.script]
    for header in scenario.headers:
        command += ["--header", header]
    return [*command, f"http://127.0.0.1:{port}{scenario.path}"]


def run(command: list[str], seconds: int) -> Load:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            command, cwd=BENCH, capture_output=True, text=True, timeout=seconds + 20
        )
    except subprocess.TimeoutExpired:
        raise LoadFailed("wrk did not end") from None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return read(done.stdout or done.stderr, processor)


def read(text: str, processor: float) -> Load:
    requests = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if not requests or not rate or requests[1] == "0":
        raise LoadFailed("no request was answered" if requests else f"wrk: {text.strip()[:120]}")
    return Load(
        int(requests[1]),
        float(rate[1]),
        _percentile(text, 50),
        _percentile(text, 99),
        _errors(text),
        processor,
    )


def _percentile(text: str, which: int) -> float | None:
    found = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    return float(found[1]) * MILLISECONDS[found[2]] if found else None


def _errors(text: str) -> dict[str, int]:
    counts = dict.fromkeys(("connect", "read", "write", "timeout", "status"), 0)
    for kind, count in re.findall(r"(connect|read|write|timeout) (\d+)", text):
        counts[kind] = int(count)
    if refused := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
        counts["status"] = int(refused[1])
    return {kind: count for kind, count in counts.items() if count}
