"""Measures Lockgate beside its peers: interleaved rounds, one report. `run.py --help` says how."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import chart
import machine
import peers
import report
from catalogue import (
    DEFAULT_SCENARIOS,
    SCENARIOS,
    SERVERS,
    Scenario,
    Server,
    choose_scenarios,
    choose_servers,
    obstacle,
)
from measure import Plan, measure
from process import BENCH

# Start, first answer and stop of a server, for the estimate.
SECONDS_AROUND_A_ROUND = 0.5


def main() -> int:
    options = arguments()
    if options.list:
        print(catalogue_text())
        return 0
    try:
        scenarios = choose_scenarios(words(options.scenarios))
        wanted = choose_servers(words(options.servers)) if options.servers else None
        installed = peers.set_up(again=options.setup_only)
    except KeyError as unknown:
        print(f"bench: no server or scenario is called {unknown}: see --list", file=sys.stderr)
        return 2
    except peers.CannotSetUp as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    fields, skipped = draw_up(scenarios, wanted, installed)
    if options.setup_only:
        fields, skipped = {}, [f"{s.name}: {w}" for s in SERVERS if (w := installed.why_not(s))]
    for line in skipped:
        print(f"bench: skipped {line}", flush=True)
    if options.setup_only:
        print("bench: set up")
        return 0
    return run(options, scenarios, fields, skipped, installed)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure WSGI servers side by side.")
    add = parser.add_argument
    add("-s", "--scenarios", default=",".join(DEFAULT_SCENARIOS), help="names, or all")
    add("-S", "--servers", help="names, @tags, or all (default: the scenario's own)")
    add("-r", "--rounds", type=int, help="default: 3")
    add("-d", "--seconds", type=int, help="of a round (default: 4)")
    add("-w", "--warm-up", type=int, default=1, help="seconds before each round")
    add("-c", "--connections", type=int, default=64)
    add("--reference", default="lockgate", help="the server that ratios refer to")
    add("--unpinned", action="store_true", help="let the kernel place server and wrk")
    add(
        "--quick",
        action="store_true",
        help="1 round of 2 s unless -r and -d say more: does it work?",
    )
    add("--output", type=Path, help="folder of the report (default: one in bench/runs)")
    add("--list", action="store_true", help="servers and scenarios")
    add("--setup-only", action="store_true", help="install, build, and say what is missing")
    options = parser.parse_args()
    rounds, seconds = (1, 2) if options.quick else (3, 4)
    options.rounds = rounds if options.rounds is None else options.rounds
    options.seconds = seconds if options.seconds is None else options.seconds
    if min(options.rounds, options.seconds, options.connections) < 1 or options.warm_up < 0:
        parser.error("rounds, seconds and connections must be at least 1, the warm-up at least 0")
    return options


def draw_up(
    scenarios: list[Scenario], wanted: list[Server] | None, installed: peers.Installed
) -> tuple[dict[str, list[Server]], list[str]]:
    """Which server runs in which scenario, and a line for each that does not."""
    fields: dict[str, list[Server]] = {}
    away: dict[tuple[str, str], list[str]] = {}
    for scenario in scenarios:
        fields[scenario.name] = []
        for server in wanted or choose_servers(scenario.servers):
            if reason := installed.why_not(server):
                away[server.name, reason] = []
            elif reason := obstacle(server, scenario):
                away.setdefault((server.name, reason), []).append(scenario.name)
            else:
                fields[scenario.name].append(server)
    lines = [
        f"{server} in {', '.join(names)}: {reason}" if names else f"{server}: {reason}"
        for (server, reason), names in away.items()
    ]
    return fields, lines


def run(
    options: argparse.Namespace,
    scenarios: list[Scenario],
    fields: dict[str, list[Server]],
    skipped: list[str],
    installed: peers.Installed,
) -> int:
    cores = machine.cores()
    if len(cores) < 2 and not options.unpinned:
        print("bench: only one core: server and wrk share it", flush=True)
    pinned = None if options.unpinned or len(cores) < 2 else (cores[0], cores[1])
    plan = Plan(options.rounds, options.seconds, options.warm_up, options.connections, pinned)
    record = {
        "plan": asdict(plan),
        "machine": machine.notes(str(peers.PYTHON)),
        "versions": installed.versions,
        "skipped": skipped,
        "rounds": {name: {server.name: [] for server in field} for name, field in fields.items()},
    }
    folder = make_folder(options.output, record["machine"])
    count = plan.rounds * sum(map(len, fields.values()))
    each = plan.seconds + plan.warm_up + SECONDS_AROUND_A_ROUND
    print(f"bench: {count} measurements, about {count * each / 60:.1f} minutes", flush=True)
    interrupted = False
    try:
        for scenario in scenarios:
            measure_scenario(scenario, fields[scenario.name], plan, record, folder)
    except KeyboardInterrupt:
        interrupted = True
        print("bench: interrupted; the report holds what there is", flush=True)
    write_report(record, scenarios, options.reference, folder)
    failed = sum(
        "failure" in one for field in record["rounds"].values() for m in field.values() for one in m
    )
    return 130 if interrupted else int(failed > 0 or count == 0)


def measure_scenario(
    scenario: Scenario, field: list[Server], plan: Plan, record: dict, folder: Path
) -> None:
    for number in range(plan.rounds):
        # There and back, so that no server always follows the same neighbour.
        for server in field if number % 2 == 0 else reversed(field):
            result = measure(server, scenario, plan)
            record["rounds"][scenario.name][server.name].append(result)
            # After each measurement, so that nothing measured is ever lost.
            (folder / "results.json").write_text(json.dumps(record, indent=1) + "\n")
            print(
                f"{scenario.name} {number + 1}/{plan.rounds} {server.name}: {brief(result)}",
                flush=True,
            )


def brief(result: dict) -> str:
    if "failure" in result:
        return f"FAILED: {result['failure']}"
    errors = "".join(f", {kind} errors {count}" for kind, count in result["errors"].items())
    return (
        f"{report.figure(result['cpu'])} µs CPU, {result['rate']:,.0f} req/s,"
        f" others {result['others_load']:.0%}{errors}"
    )


def write_report(record: dict, scenarios: list[Scenario], reference: str, folder: Path) -> None:
    found = {
        scenario.name: rows
        for scenario in scenarios
        if (rows := report.rows(scenario, record["rounds"][scenario.name]))
    }
    (folder / report.CHART).write_text(chart.draw(scenarios, found, reference))
    text = report.document(record, scenarios, found, reference)
    (folder / "README.md").write_text(text)
    for name, rows in found.items():
        print(f"\n{name}\n\n{report.table(rows, reference)}")
    if warning := report.disturbance(found):
        print(f"\nbench: {warning}")
    shown = folder.relative_to(BENCH.parent) if folder.is_relative_to(BENCH.parent) else folder
    print(f"\nbench: report in {shown}/README.md")


def make_folder(wanted: Path | None, notes: dict[str, str]) -> Path:
    """A new folder of its own for each run, unless one is named."""
    if wanted:
        wanted.mkdir(parents=True, exist_ok=True)
        return wanted.resolve()
    name = f"{time.strftime('%Y-%m-%d')}-{machine.description(notes)}"
    for number in range(1, 1000):
        folder = BENCH / "runs" / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            folder.mkdir(parents=True)
            return folder
    raise FileExistsError(f"bench/runs holds 999 runs called {name}")


def catalogue_text() -> str:
    lines = ["scenarios"]
    lines += [f"  {scenario.name:22}{scenario.about}" for scenario in SCENARIOS]
    lines += ["", "servers"]
    lines += [f"  {s.name:22}{' '.join('@' + tag for tag in sorted(s.tags))}" for s in SERVERS]
    return "\n".join(lines)


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main())
