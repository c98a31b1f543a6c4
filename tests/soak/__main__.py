"""Runs drills and soak, with and without preload, prints a report, and ends with 1 on a fault.

python -m soak [--seconds 60] [--seed N] [--only preload|plain] [--event-loops N] [--directory D]
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from soak import accounts, drills, mixed
from soak.load import Load
from soak.site import Site


class Report:
    """Prints what happens as it happens, and keeps the faults."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()

    def fault(self, where: str, what: str) -> None:
        self.faults.append(f"{where}: {what}")
        print(f"soak: FAULT {where}: {what}", flush=True)

    def line(self, where: str, seconds: float, counts: Counter[str], note: str = "") -> None:
        print(
            f"soak: {where:32} {seconds:>7.1f} s {counts['requests']:>8} requests "
            f"{counts['reconnected']:>4} reconnected {counts['lost']:>4} lost to kills  {note}",
            flush=True,
        )

    def add(self, where: str, load: Load) -> None:
        """A load that has ended."""
        for fault in load.faults:
            self.fault(where, fault)
        self.kinds += load.kinds
        self.counts += load.counts()

    def end(self) -> int:
        print("soak: " + ", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items())))
        print(
            f"soak: {self.counts['requests']} requests; {self.counts['reconnected']} sent again, "
            f"because a kept connection had closed before the answer's first byte; "
            f"{self.counts['lost']} connections lost to processes that the soak killed or stopped"
        )
        if self.faults:
            print(f"soak: {len(self.faults)} FAULTS; again with --seed {self.seed}:")
            for fault in self.faults:
                print(f"soak:   {fault}")
            return 1
        print(f"soak: no fault (seed {self.seed})")
        return 0


def drill_all(site: Site, report: Report, where: str, seed: str) -> None:
    """Deploys, then their accounts, then kills, then TERM: each under load."""
    with Load(site.server.address, f"{seed}-deploys") as load:
        for drill in drills.DEPLOYS:
            attempt(drill, site, load, report, where)
    report.add(f"{where}, deploys", load)
    for difference in accounts.differences(site, load):
        report.fault(f"{where}, deploys", difference)
    with Load(site.server.address, f"{seed}-kills") as load:
        for drill in drills.KILLS:
            attempt(drill, site, load, report, where)
        attempt(drills.stop, site, load, report, where)
    report.add(f"{where}, kills", load)


def attempt(drill: drills.Drill, site: Site, load: Load, report: Report, where: str) -> None:
    name = f"{where}, {drill.__name__}"
    before, began = load.counts(), time.monotonic()
    try:
        drills.await_answers(load)
        drill(site, load)
    except AssertionError:
        report.fault(name, traceback.format_exc())
    report.line(name, time.monotonic() - began, load.counts() - before)


def soak(site: Site, report: Report, where: str, seed: str, seconds: float) -> None:
    began = time.monotonic()
    with Load(site.server.address, f"{seed}-steady") as load:
        for growth in mixed.steady(site, load, seconds / 2):
            report.fault(f"{where}, steady", growth)
    report.line(f"{where}, steady", time.monotonic() - began, load.counts())
    report.add(f"{where}, steady", load)
    for difference in accounts.differences(site, load):
        report.fault(f"{where}, steady", difference)
    began, done = time.monotonic(), Counter()
    with Load(site.server.address, f"{seed}-disturbed") as load:
        try:
            rng = random.Random(f"{seed}-disturbed")
            for growth in mixed.disturbed(site, load, seconds / 2, rng, done):
                report.fault(f"{where}, disturbed", growth)
        except AssertionError:
            report.fault(f"{where}, disturbed", traceback.format_exc())
    note = ", ".join(f"{name} {count}" for name, count in sorted(done.items()))
    report.line(f"{where}, disturbed", time.monotonic() - began, load.counts(), note)
    report.add(f"{where}, disturbed", load)
    if (code := site.server.stop()) != 0:
        report.fault(f"{where}, disturbed", f"exit code {code} on TERM")


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long the soak lasts, in all")
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    parser.add_argument("--only", choices=["plain", "preload"], help="without the other one")
    parser.add_argument("--event-loops", type=int, default=1, help="above 1: Python without a GIL")
    parser.add_argument("--no-drills", action="store_true", help="the soak alone")
    parser.add_argument("--directory", type=Path, help="where logs stay; by default nowhere")
    parser.add_argument("--sabotage", default="", help="of the application: see there")
    options = parser.parse_args()
    # So that the servers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report(options.seed)
    modes = [options.only] if options.only else ["plain", "preload"]
    with tempfile.TemporaryDirectory(prefix="lockgate-soak-") as scratch:
        for mode in modes:
            directory = (options.directory or Path(scratch)) / mode
            about = {
                "preload": mode == "preload",
                "sabotage": options.sabotage,
                "settings": {"event_loops": options.event_loops},
            }
            if not options.no_drills:
                with Site(directory / "drills", **about) as site:
                    drill_all(site, report, mode, f"{options.seed}-{mode}")
            with Site(directory / "soak", **about) as site:
                soak(site, report, mode, f"{options.seed}-{mode}", options.seconds / len(modes))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
