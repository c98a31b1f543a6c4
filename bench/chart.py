"""Draws the rows of a run as horizontal bars, in SVG written by hand. Pure; follows dark mode."""

from __future__ import annotations

from html import escape

from catalogue import Scenario
from report import Row, figure

WIDTH, MARGIN = 860, 24
NAMES, NOTES = 180, 190
BAR, STEP, HEADING, GAP = 16, 24, 44, 18
BARS = WIDTH - 2 * MARGIN - NAMES - NOTES

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; font-size: 15px; }
.about, .note { fill: #59636e; }
.paper { fill: #ffffff; }
.bar { fill: #9fb3c8; }
.ours { fill: #d9730d; }
.spread { stroke: #1f2328; stroke-width: 1.5; fill: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .about, .note { fill: #9198a1; }
  .paper { fill: #0d1117; }
  .bar { fill: #46586b; }
  .spread { stroke: #e6edf3; }
}
"""


def draw(scenarios: list[Scenario], found: dict[str, list[Row]], reference: str) -> str:
    """One panel per scenario: the figure it is about as bars, least to most as whiskers."""
    parts: list[str] = []
    top = MARGIN
    for scenario in scenarios:
        if rows := found.get(scenario.name):
            parts += _panel(scenario, rows, reference, top)
            top += HEADING + STEP * len(rows) + GAP
    height = top - GAP + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="img">'
    )
    paper = f'<rect class="paper" width="{WIDTH}" height="{height}"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", paper, *parts, "</svg>\n"])


def _panel(scenario: Scenario, rows: list[Row], reference: str, top: int) -> list[str]:
    by_rate = scenario.headline == "rate"
    unit = (
        "requests per second, more is better" if by_rate else "CPU µs per request, less is better"
    )
    title = f'{escape(scenario.name)} <tspan class="about" font-weight="400">{unit}</tspan>'
    parts = [
        _text(MARGIN, top + 14, title, "title"),
        _text(MARGIN, top + 32, escape(scenario.about), "about"),
    ]
    widest = max((row.rate if by_rate else row.cpu)[2] for row in rows)
    for number, row in enumerate(rows):
        y = top + HEADING + STEP * number
        middle, least, most = (
            BARS * value / widest for value in (row.rate if by_rate else row.cpu)
        )
        kind = "bar ours" if row.server == reference else "bar"
        left, center = MARGIN + NAMES, y + BAR / 2
        cpu, rate = f"{figure(row.cpu[0])} µs", f"{row.rate[0]:,.0f}/s"
        note = f"{rate} · {cpu}" if by_rate else f"{cpu} · {rate}"
        parts += [
            _text(MARGIN, y + 13, escape(row.server)),
            f'<rect class="{kind}" x="{left}" y="{y}" width="{middle:.1f}" height="{BAR}" rx="2"/>',
            f'<path class="spread" d="M{left + least:.1f} {center}H{left + most:.1f}"/>',
            _text(left + max(middle, most) + 8, y + 13, note, "note"),
        ]
    return parts


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}"{f" class={kind!r}" if kind else ""}>{text}</text>'
