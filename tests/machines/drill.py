"""Runs drills over three hosts behind a balancer and prints what customers have seen of each.

python -m machines.drill [--recipe haproxy/cluster.cfg] [--drill roll --rolls 20] [--without]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from machines.customers import Outcome
from machines.drills import DRILLS
from machines.network import why_not
from machines.site import FLAGS, Site
from machines.without import CASES


def run(
    recipe: str,
    drill: str,
    *,
    times: int = 1,
    changes: Mapping[str, str] | None = None,
    settings: Mapping[str, str | None] | None = None,
) -> Outcome:
    """One drill, `times` times, with one site and the same customers."""
    with tempfile.TemporaryDirectory() as directory:
        site = Site(Path(directory), recipe, changes, settings)
        try:
            with site.customers() as outcome:
                site.all_serve()
                for _ in range(times):
                    DRILLS[drill](site)
        finally:
            site.end()
    return outcome


def row(title: str, outcome: Outcome) -> str:
    failures = ", ".join(f"{count} {what}" for what, count in sorted(outcome.failures.items()))
    total = sum(outcome.answered.values()) + outcome.failed
    return (
        f"{title:<64} {total:>7} requests, {outcome.failed:>4} failed, "
        f"{outcome.repeated:>3} GETs repeated, {len(outcome.twice):>2} orders twice, "
        f"{len(outcome.lost):>2} lost, "
        f"slowest {outcome.slowest:5.2f} s  {failures}"
    )


def without(recipe: str, rolls: int) -> None:
    """Prints a row of a table for each line that is left out."""
    for case in CASES:
        if case.recipe == recipe:
            times = rolls if case.drill == "roll" else 1
            outcome = run(
                recipe, case.drill, times=times, changes=case.changes, settings=case.settings
            )
            print(row(f"{case.drill} without {case.line}", outcome), flush=True)


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m machines.drill", description=__doc__)
    options.add_argument("--recipe", choices=list(FLAGS), default=next(iter(FLAGS)))
    options.add_argument("--drill", choices=list(DRILLS), action="append")
    options.add_argument("--rolls", type=int, default=3)
    options.add_argument(
        "--without", action="store_true", help="leave out each line of the recipe in turn"
    )
    chosen = options.parse_args()
    if reason := why_not():
        options.error(reason)
    if chosen.without:
        without(chosen.recipe, chosen.rolls)
        return 0
    total: Counter[str] = Counter()
    for drill in chosen.drill or DRILLS:
        times = chosen.rolls if drill == "roll" else 1
        outcome = run(chosen.recipe, drill, times=times)
        total.update(outcome.failures)
        title = f"{times} rolls" if drill == "roll" else drill
        print(row(f"{chosen.recipe}: {title}", outcome), flush=True)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
