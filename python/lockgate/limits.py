"""`lockgate ctl limits`: what the rate limits have refused, and whom most often."""

from __future__ import annotations

from typing import Any

from lockgate.admin_client import printable
from lockgate.top import age


def limit_lines(found: Any) -> list[str]:
    """A line for each rate of a limit in an answer of `/limits`, one for each of its clients."""
    if not found["limits"]:
        return ["no rate limit is set"]
    lines = [f"{'LIMIT':<24} {'RATE':<12} {'REFUSED':>10} {'DRY RUN':>10}  SINCE"]
    for limit in found["limits"]:
        name, measure = printable(limit["name"]), printable(limit["measure"])
        counts = f"{limit['refused']:>10} {limit['would_refuse']:>10}"
        lines.append(f"{name:<24} {measure:<12} {counts}")
        lines += [
            f"  {printable(one['key']):<35} {one['refused']:>10} {'':>10}  {age(one['since'])}"
            for one in limit["offenders"]
        ]
    if "sharing" in found:
        sharing = found["sharing"]
        redis, seconds = printable(sharing["redis"]), age(sharing["since"])
        lines.append(
            f"shared through {redis} for {seconds}"
            if sharing["up"]
            else f"not shared for {seconds}: see the log for what is wrong with {redis}"
        )
    if found["evicted"] or found["uncounted"]:
        lines.append(
            f"rate_limit_memory was full: {found['evicted']} clients were forgotten too early, "
            f"and {found['uncounted']} requests had no limit of concurrency"
        )
    return lines
