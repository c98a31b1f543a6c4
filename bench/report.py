"""Turns rounds into figures and figures into Markdown, as pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from catalogue import Scenario

COLUMNS = (
    "server",
    "CPU µs/request",
    "min..max",
    "× {reference}",
    "req/s",
    "min..max",
    "× {reference}",
    "p50 ms",
    "p99 ms",
    "server core",
    "wrk core",
    "others",
    "RSS MiB",
    "PSS MiB",
    "errors",
)

CHART = "chart.svg"
# Share of a core, chosen and not measured. Other work empties caches, which costs, and lets
# requests pile up into larger batches, which saves: it can move a figure either way.
DISTURBED = 0.15


@dataclass(frozen=True)
class Row:
    """One server in one scenario, over its rounds. The first two: median, least, most."""

    server: str
    cpu: tuple[float, float, float]
    rate: tuple[float, float, float]
    p50: float | None
    p99: float | None
    server_load: float
    client_load: float
    others_load: float
    rss: float
    pss: float
    errors: str


def rows(scenario: Scenario, rounds: dict[str, list[dict]]) -> list[Row]:
    """The best first, by the figure that the scenario is about."""
    found = [
        _row(server, good)
        for server, measured in rounds.items()
        if (good := [one for one in measured if "failure" not in one])
    ]
    if scenario.headline == "rate":
        return sorted(found, key=lambda row: -row.rate[0])
    return sorted(found, key=lambda row: row.cpu[0])


def table(found: list[Row], reference: str) -> str:
    base = next((row for row in found if row.server == reference), None)
    lines = [
        "| " + " | ".join(COLUMNS).format(reference=reference) + " |",
        "|---" + "|--:" * (len(COLUMNS) - 2) + "|---|",
    ]
    for row in found:
        cells = (
            row.server,
            f"**{figure(row.cpu[0])}**",
            f"{figure(row.cpu[1])}..{figure(row.cpu[2])}",
            _ratio(row.cpu[0], base and base.cpu[0]),
            f"**{row.rate[0]:,.0f}**",
            f"{row.rate[1]:,.0f}..{row.rate[2]:,.0f}",
            _ratio(row.rate[0], base and base.rate[0]),
            _latency(row.p50),
            _latency(row.p99),
            f"{row.server_load:.0%}",
            f"{row.client_load:.0%}",
            f"{row.others_load:.0%}" + (" !" if row.others_load > DISTURBED else ""),
            f"{row.rss:.0f}",
            f"{row.pss:.0f}",
            row.errors,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def disturbance(found: dict[str, list[Row]]) -> str:
    """A warning if other processes used the CPU during the run, or nothing."""
    every = [row for rows in found.values() for row in rows]
    disturbed = sum(row.others_load > DISTURBED for row in every)
    if not disturbed:
        return ""
    return (
        f"{disturbed} of {len(every)} rows are disturbed (marked with !): other work took more"
        f" than {DISTURBED:.0%} of a core. They do not compare: measure again on a quiet machine."
    )


def document(
    record: dict, scenarios: list[Scenario], found: dict[str, list[Row]], reference: str
) -> str:
    """The whole report of one run. `record` is what the raw JSON holds."""
    plan, machine = record["plan"], record["machine"]
    cores = plan["cores"]
    pinned = f"server on core {cores[0]}, wrk on core {cores[1]}" if cores else "not pinned"
    parts = [
        f"# {machine['date'][:10]}: {machine['processor']}",
        f"{plan['rounds']} interleaved rounds of {plan['seconds']} s after {plan['warm_up']} s of"
        f" warm-up, {plan['connections']} connections, {pinned}."
        " Medians of the rounds; CPU is that of all processes of the server."
        " What the columns mean: [README](../../README.md).",
        f"![CPU per request]({CHART})",
    ]
    if warning := disturbance(found):
        parts.insert(2, f"**Warning:** {warning}")
    for scenario in scenarios:
        if scenario.name in found:
            parts.append(f"## {scenario.name}\n\n{scenario.about[0].upper()}{scenario.about[1:]}.")
            parts.append(table(found[scenario.name], reference))
        parts += [
            f"- failed: {server}, round {number}: {one['failure']}"
            for server, measured in record["rounds"].get(scenario.name, {}).items()
            for number, one in enumerate(measured, 1)
            if "failure" in one
        ]
    parts.append("## Left out\n\n" + (_list(record["skipped"]) or "Nothing."))
    facts = [f"{name}: {value}" for name, value in machine.items()]
    parts.append("## Machine\n\n" + _list(facts))
    versions = [f"{name} {version}" for name, version in sorted(record["versions"].items())]
    parts.append("## Versions\n\n" + ", ".join(versions))
    parts.append("## Command lines\n\nRun in `bench/`.\n\n```\n" + _commands(record) + "\n```")
    return "\n\n".join(parts) + "\n"


def figure(value: float) -> str:
    """Rounded to three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _row(server: str, good: list[dict]) -> Row:
    def middle(name: str) -> float:
        return median(one[name] for one in good)

    def spread(name: str) -> tuple[float, float, float]:
        values = [one[name] for one in good]
        return median(values), min(values), max(values)

    def known(name: str) -> float | None:
        values = [one[name] for one in good if one[name] is not None]
        return median(values) if values else None

    kinds = dict.fromkeys(kind for one in good for kind in one["errors"])
    worst = {kind: max(one["errors"].get(kind, 0) for one in good) for kind in kinds}
    return Row(
        server,
        spread("cpu"),
        spread("rate"),
        known("p50"),
        known("p99"),
        middle("server_load"),
        middle("client_load"),
        middle("others_load"),
        middle("rss"),
        middle("pss"),
        ", ".join(f"{kind} {count:,}" for kind, count in worst.items()),
    )


def _commands(record: dict) -> str:
    """Each distinct command, the servers' and then wrk's; the raw results have their ports."""
    lasts = [
        measured[-1]
        for servers in record["rounds"].values()
        for measured in servers.values()
        if measured and "failure" not in measured[-1]
    ]
    commands = [
        one[kind].replace(str(one["port"]), "PORT")
        for kind in ("server_command", "client_command")
        for one in lasts
    ]
    return "\n".join(dict.fromkeys(commands))


def _ratio(value: float, base: float | None) -> str:
    return f"{value / base:.2f}" if base else "–"


def _latency(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
