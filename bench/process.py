"""One server under measurement: started, watched through /proc, stopped.

Only processes that it started are ever signalled: by pid, and only while the start time matches.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from catalogue import Scenario, Server

BENCH = Path(__file__).parent
BUILD = BENCH / "build"
TICKS = os.sysconf("SC_CLK_TCK")
READY_SECONDS = 20.0
DRAIN_SECONDS = 5.0
# Below the ports that Linux hands to clients.
PORTS = range(20_000, 32_000)


class DidNotServe(Exception):
    """The server exited, did not answer or answered wrongly; the text says which."""


@dataclass
class Usage:
    """What a tree of processes has used so far: seconds of processor, and MiB of memory."""

    user: float
    system: float
    rss: float
    pss: float


class Running:
    """A server that answers as its scenario asks; leaving this context manager stops it."""

    def __init__(self, server: Server, scenario: Scenario, core: int | None) -> None:
        self.scenario = scenario
        self.port = free_port()
        self.config = write_config(server, self.port, scenario.workers)
        command = server.command_line(scenario.app, self.port, scenario.workers, self.config)
        # The mask comes before the server, so that each of its threads and processes inherits it.
        self.command = command if core is None else ["taskset", "-c", str(core), *command]
        self.log = BUILD / f"{server.name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=BENCH,
                env=os.environ | {"PYTHONPATH": ".", "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Running:
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def usage(self) -> Usage:
        pids = process_tree(self.process.pid)
        user = system = 0.0
        for fields in filter(None, map(process_stat, pids)):
            # utime, stime, and the same of the children that were waited for.
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
        return Usage(user / TICKS, system / TICKS, _memory(pids, "Rss:"), _memory(pids, "Pss:"))

    def stop(self) -> None:
        started = {pid: _start_time(pid) for pid in process_tree(self.process.pid)}
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(DRAIN_SECONDS)
        for pid, moment in started.items():
            if moment is not None and _start_time(pid) == moment:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(DRAIN_SECONDS)
        if self.config:
            (BENCH / self.config).unlink(missing_ok=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        wrong = "no answer"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise DidNotServe(f"exited with {self.process.returncode}: {self._last_words()}")
            try:
                wrong = self._wrong_answer()
            except (OSError, http.client.HTTPException) as error:
                wrong = f"no answer: {error}"
            if not wrong:
                return
            time.sleep(0.02)
        raise DidNotServe(f"{wrong} after {READY_SECONDS:.0f} s: {self._last_words()}")

    def _wrong_answer(self) -> str:
        """One real request: an error page must not be measured."""
        scenario = self.scenario
        headers = dict(line.split(": ", 1) for line in scenario.headers)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3)
        try:
            body = b"b" * scenario.body or None
            headers["Connection"] = "close"
            connection.request("POST" if body else "GET", scenario.path, body, headers)
            response = connection.getresponse()
            length = len(response.read())
        finally:
            connection.close()
        if response.status != 200:
            return f"status {response.status}"
        if scenario.answer not in (None, length):
            return f"{length} bytes instead of {scenario.answer}"
        return ""

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or ["it said nothing"])[-1].strip()[:160]


def free_port() -> int:
    first = os.getpid() % len(PORTS)
    for offset in range(len(PORTS)):
        port = PORTS[(first + offset) % len(PORTS)]
        with socket.socket() as probe:
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise DidNotServe("no free port")


def write_config(server: Server, port: int, workers: int) -> str:
    """The path of the entry's own configuration, or nothing."""
    if server.config is None:
        return ""
    text = (BENCH / server.config).read_text()
    path = BUILD / f"{port}-{server.config}"
    path.write_text(text.replace("@PORT@", str(port)).replace("@WORKERS@", str(workers)))
    return str(path.relative_to(BENCH))


def process_tree(root: int) -> list[int]:
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                waiting.extend(map(int, task.read_text().split()))
    return found


def process_stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, so that field 14 of proc(5) is number 11."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _start_time(pid: int) -> str | None:
    fields = process_stat(pid)
    return fields[19] if fields else None


def _memory(pids: list[int], kind: str) -> float:
    kibibytes = 0
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kibibytes += sum(int(line.split()[1]) for line in lines if line.startswith(kind))
    return kibibytes / 1024
