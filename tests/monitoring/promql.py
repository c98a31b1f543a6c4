"""Which metrics, labels and values of labels an expression of PromQL names."""

from __future__ import annotations

import re

STRING = r'"(?:[^"\\]|\\.)*"'
METRIC = re.compile(rf"\b(lockgate_\w+)\s*(?:{{((?:{STRING}|[^}}\"])*)}})?")
MATCHER = re.compile(rf"\s*(\w+)\s*(=~|!~|!=|=)\s*({STRING})\s*,?")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
SERIES = re.compile(r"(\w+)(?:{(.*)})?")
#: Labels that Prometheus adds to what it scrapes, and `le` of buckets.
ADDED = {"job", "instance", "le"}


def selectors(expression: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Each metric of Lockgate's, with its matchers: label, operator, value."""
    found = []
    for name, inside in METRIC.findall(expression):
        matchers = MATCHER.findall(inside)
        assert not MATCHER.sub("", inside).strip(), f"not matchers: {inside}"
        found.append((name, [(label, sign, text[1:-1]) for label, sign, text in matchers]))
    return found


def grouped(expression: str) -> set[str]:
    """Labels that results are grouped by."""
    bare = re.sub(STRING, '""', expression)
    lists = GROUPING.findall(bare)
    return {label.strip() for labels in lists for label in labels.split(",") if label.strip()}


def known(samples: dict[str, float]) -> dict[str, dict[str, set[str]]]:
    """Each metric of a scrape, with its labels and their values."""
    found: dict[str, dict[str, set[str]]] = {}
    for series in samples:
        match = SERIES.fullmatch(series)
        assert match, series
        labels = found.setdefault(match[1], {})
        for label, _, text in MATCHER.findall(match[2] or ""):
            labels.setdefault(label, set()).add(text[1:-1])
    return found


def faults(expression: str, scraped: dict[str, dict[str, set[str]]]) -> list[str]:
    """What the expression names and no server has."""
    found = []
    labels = set(ADDED)
    for name, matchers in selectors(expression):
        if name not in scraped:
            found.append(f"no metric {name}")
            continue
        labels |= set(scraped[name])
        for label, sign, value in matchers:
            if label in ADDED:
                continue
            values = value.split("|") if sign in ("=~", "!~") else [value]
            there = scraped[name].get(label, set())
            found += [f'no {name}{{{label}="{one}"}}' for one in values if one not in there]
    found += [f"nothing has the label {label}" for label in sorted(grouped(expression) - labels)]
    return found
