"""Exit test: `python tests/exit_drill.py --rounds 200` stops, reloads and recycles a server
under load that often, with jobs in a ThreadPoolExecutor, a ProcessPoolExecutor and a thread.

Each round: a server of two workers, clients that keep asking, jobs of different lengths. No job may
be lost, no process left, no request failed, and no exit may take longer than the jobs.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from harness import Load, Server, eventually
from harness.process import is_alive, processes_of_session

WAYS = ("stop", "reload", "recycle")
KINDS = ("threads", "processes", "thread")
LONGEST_JOB = 0.4
# What a busy machine may add to an exit. The exit that does not know its jobs waits for 30 s.
MARGIN = 10.0


class Drill:
    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.arguments = arguments
        self.jobs = 0
        self.ended = 0
        self.resets = 0
        self.took: list[float] = []

    def rounds(self, way: str, count: int) -> None:
        server, notes = None, self.directory / f"notes-{way}"
        for number in range(count):
            if server is None:
                notes.write_text("")
                server = self._start(way, notes)
            self._round(server, way, notes, number)
            if way == "stop":
                server.end()
                server = None
        if server is not None:
            server.stop()
            self._expect_all_done(server, notes)
            server.end()

    def _start(self, way: str, notes: Path) -> Server:
        # A recycled worker has answered the clients of one round.
        arguments = ["--max-requests", "20"] if way == "recycle" else []
        return Server(
            self.directory, "finishing:app", *arguments, *self.arguments,
            workers=2, environment={"NOTES": str(notes)},
        )  # fmt: skip

    def _round(self, server: Server, way: str, notes: Path, number: int) -> None:
        with Load(server.address, clients=2, keep_alive=False) as load:
            eventually(lambda: load.ok >= 10, what="10 answers")
            # A fork server stays when its workers are recycled.
            fork_servers = re.findall(r"the fork server \(pid (\d+)\) has loaded", server.errors)
            before = [pid for pid in server.workers() if str(pid) not in fork_servers]
            for kind in KINDS:
                for place in range(2):
                    name = f"{kind}-{number}-{place}"
                    seconds = random.uniform(0, LONGEST_JOB)
                    response = server.get(f"/?{kind},{name},{seconds}")
                    assert response.status == 200, response
                    self.jobs += 1
            began = time.monotonic()
            if way == "stop":
                load.expect_stop()
                assert server.stop() == 0
            elif way == "reload":
                server.signal(signal.SIGHUP)
            # Recycling happens by itself, under this load.
            eventually(lambda: not any(map(is_alive, before)), within=30, what="workers exit")
            took = time.monotonic() - began
            self.took.append(took)
            load.stop()
        failures = [failure.error for failure in load.failures]
        if way == "stop":
            # The kernel resets a connection that is made while the last listener is being closed.
            resets = [error for error in failures if error.startswith("ConnectionResetError")]
            self.resets += len(resets)
            failures = [error for error in failures if error not in resets]
        assert failures == [], failures
        if way != "recycle":
            assert took < LONGEST_JOB + MARGIN, f"the exit took {took:.1f} s"
        if way == "stop":
            self._expect_all_done(server, notes)

    def _expect_all_done(self, server: Server, notes: Path) -> None:
        eventually(lambda: not processes_of_session(server.pid), what="no process is left")
        lines = notes.read_text().splitlines()
        ended = {line.split()[0] for line in lines if line.endswith("ended")}
        assert len(ended) == sum(line.endswith("ended") for line in lines), "a job ran twice"
        lost = {line.split()[0] for line in lines} - ended
        assert not lost, f"lost jobs: {sorted(lost)}"
        self.ended += len(ended)
        assert self.ended == self.jobs, f"{self.jobs - self.ended} jobs never began"
        for sign in ("Traceback", "[ERROR]", "[CRITICAL]", "not finished within", "killed"):
            assert sign not in server.errors, server.errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--preload", action="store_true")
    parser.add_argument("ways", nargs="*", default=WAYS)
    options = parser.parse_args()
    arguments = ["--preload"] if options.preload else []
    for way in options.ways:
        with tempfile.TemporaryDirectory() as directory:
            drill = Drill(Path(directory), *arguments)
            drill.rounds(way, options.rounds)
        slowest, middle = max(drill.took), sorted(drill.took)[len(drill.took) // 2]
        print(
            f"{way}: {options.rounds} rounds, {drill.jobs} jobs, none lost, no process left; "
            f"median {middle:.2f} s, longest {slowest:.2f} s; {drill.resets} connections reset",
            flush=True,
        )


if __name__ == "__main__":
    main()
