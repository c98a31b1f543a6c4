"""Whether clients, access log and metrics agree, to the last request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from harness import eventually

from soak.load import ANSWERED, Load
from soak.site import Site

# How a request ends whose response has not left in full.
CUT = ("client_gone", "aborted", "client_too_slow")
MOST_PROBLEMS = 20


def differences(site: Site, load: Load) -> list[str]:
    """What the three say differently, when all requests are over. Nothing was killed meanwhile."""
    found: list[str] = []

    def agree() -> bool:
        log = Log(site.log_lines(), load)
        found[:] = [*log.differences_from(site.ask("/status")), *log.problems[:MOST_PROBLEMS]]
        return not found

    try:
        # Lines come through the buffers of workers that are still leaving.
        eventually(agree, within=10)
    except AssertionError:
        pass
    return found


class Log:
    """One pass over the access log: what it counts, and where it disagrees with the clients."""

    def __init__(self, lines: Iterable[dict[str, Any]], load: Load) -> None:
        self.whole: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self.problems: list[str] = []
        seen = {client.prefix: bytearray(len(client.known)) for client in load.clients}
        for line in lines:
            if line["outcome"] in CUT:
                self.cut[line["outcome"]] += 1
            else:
                self.whole[f"{line['status'] // 100}xx"] += 1
            query = dict(parse_qsl(line["query"] or ""))
            prefix, _, number = query.get("id", "").rpartition("-")
            # A head that its client did not finish has no target.
            if prefix in seen and number.isdigit() and int(number) < len(seen[prefix]):
                times = seen[prefix]
                times[int(number)] = min(255, times[int(number)] + 1)
            if problem := wrong_length(line, query):
                self.problems.append(f"access log: {problem}: {line}")
        for client in load.clients:
            pairs = zip(client.known, seen[client.prefix], strict=True)
            for number, (known, times) in enumerate(pairs):
                if times > 1 or (known == ANSWERED and times == 0):
                    self.problems.append(
                        f"request {client.prefix}-{number} has {times} lines in the access log"
                    )

    def differences_from(self, metrics: dict[str, Any]) -> list[str]:
        responses, lost = metrics["responses"], metrics["lost"]
        pairs = [
            *((f"responses {name}", self.whole[name], responses[name]) for name in self.whole),
            *((f"lost: {name}", self.cut[name], lost[name]) for name in CUT),
            ("responses", self.whole.total(), sum(responses.values())),
        ]
        return [
            f"{name}: {logged} lines in the access log, {counted} in the metrics"
            for name, logged, counted in pairs
            if logged != counted
        ]


def wrong_length(line: dict[str, Any], query: dict[str, str]) -> str | None:
    """Of responses of the application whose length their request says."""
    if line["outcome"] != "complete" or line["status"] != 200 or line["path"] == "/echo":
        return None
    wanted = 0 if line["method"] == "HEAD" else int(query["size"])
    return None if line["body_bytes"] == wanted else f"{wanted} bytes were sent"
