"""Notes about the machine, so that figures can be read years later."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def notes(python: str) -> dict[str, str]:
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _memory(),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "python": _said([python, "-VV"]),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not visible",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
    }


def description(machine: dict[str, str]) -> str:
    """A folder name: CPU, number of cores and Python version."""
    # "AMD EPYC 9R14 96-Core Processor" would say two numbers of cores.
    processor = re.sub(r"\(\w+\)|\b\d+-Core\b|\bProcessor\b|\bCPU\b|@.*", "", machine["processor"])
    python = "python" + machine["python"].split()[1]
    text = f"{processor} {machine['cores']} cores {python}"
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def busy_seconds(which: list[int]) -> float:
    """CPU seconds that these cores have spent, idle time excluded."""
    names = {f"cpu{core}" for core in which}
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *times = line.split()
        if name in names:
            user, nice, system, _idle, _iowait, hard, soft = map(int, times[:7])
            total += user + nice + system + hard + soft
    return total / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory() -> str:
    found = re.search(r"MemTotal:\s+(\d+)", _text("/proc/meminfo"))
    return f"{int(found[1]) / (1 << 20):.0f} GiB" if found else "unknown"


def _commit() -> str:
    commit = _said(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"])
    changed = _said(["git", "-C", str(ROOT), "status", "--porcelain", "--", "crates", "python"])
    return f"{commit} and changes" if changed else commit


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
