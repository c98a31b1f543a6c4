"""What the blocks of all pages did, for the end of a test run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def summary(reports: Iterable) -> list[str]:
    """One line with counts, then one for each skipped block with its reason.

    `reports` are pytest's, with the property `block` as a result, a place and a message.
    """
    entries = {
        tuple(value)
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == "block"
    }
    if not entries:
        return []
    counts = Counter(result for result, _, _ in entries)
    pages = {place.partition(":")[0] for _, place, _ in entries}
    line = (
        f"{len(pages)} pages: {counts['ran']} blocks ran, {counts['shown']} have nothing to run, "
        f"{counts['skipped']} skipped, {counts['failed']} failed"
    )
    skipped = sorted(entry[1:] for entry in entries if entry[0] == "skipped")
    return [line, *(f"  skipped {place}: {reason}" for place, reason in skipped)]
