"""What an admin listener answers in a situation: the JSON of /now and /history at any moment.

An incident begins INCIDENT seconds before the scenario is made. Everything else is a function of
the clock, so that an hour of polls needs no hour.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

INCIDENT = 215.0
BOUNDS = [
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    None,
]
LOSSES = (
    "client_gone",
    "client_too_slow",
    "aborted",
    "queue_full",
    "queue_timeout",
    "request_timeout",
)
HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\"></script>"
    "<script>document.title='owned'</script>&amp;{{x}}"
)
DATABASE = "network 10.0.0.5:5432"
#: The labels of the requests, each with its part of them.
PATHS = (
    ("GET /orders/*", 0.42),
    ("GET /", 0.2),
    ("POST /cart", 0.14),
    ("GET /products/*", 0.12),
    ("GET /account", 0.07),
    ("POST /checkout", 0.04),
    ("GET /search", 0.01),
)


def frame(file: str, line: int, function: str, source: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"file": file, "line": line, "function": function}
    return found if source is None else {**found, "source": source}


def stack(own: dict[str, Any], *library: dict[str, Any]) -> list[dict[str, Any]]:
    """A stack with its most recent frame first."""
    packages = "/srv/shop/.venv/lib/python3.12/site-packages"
    return [
        *library,
        own,
        frame(f"{packages}/flask/app.py", 917, "Flask.dispatch_request"),
        frame(f"{packages}/flask/app.py", 1511, "Flask.wsgi_app"),
    ]


PSYCOPG = (
    frame(
        "/srv/shop/.venv/lib/python3.12/site-packages/psycopg/waiting.py",
        228,
        "wait_c",
        "rlist, wlist, xlist = select(rl, wl, xl, interval)",
    ),
    frame("/srv/shop/.venv/lib/python3.12/site-packages/psycopg/cursor.py", 97, "Cursor.execute"),
)
QUERY = stack(
    frame(
        "/srv/shop/shop/orders.py",
        42,
        "list_orders",
        "rows = db.execute(OPEN_ORDERS, (customer,)).fetchall()",
    ),
    *PSYCOPG,
)
TOTAL = stack(
    frame(
        "/srv/shop/shop/cart.py",
        118,
        "Cart.total",
        "return sum(line.price * line.count for line in self.lines)",
    )
)
RENDER = stack(
    frame("/srv/shop/shop/pages.py", 23, "home", 'return render_template("home.html", **context)'),
    frame(
        "/srv/shop/.venv/lib/python3.12/site-packages/jinja2/environment.py",
        1295,
        "Template.render",
        "return self.environment.concat(self.root_render_func(ctx))",
    ),
)


@dataclass
class Scenario:
    """One situation. Functions take seconds since the incident, negative before it."""

    workers: int = 4
    threads: int = 4
    rate: Callable[[float], float] = lambda t: 142 + 12 * math.sin(t / 40)
    #: The median duration, and how far apart durations are (of a log-normal distribution).
    latency: Callable[[float], tuple[float, float]] = lambda t: (0.021, 0.75)
    errors: Callable[[float], float] = lambda t: 0.0004
    lost: dict[str, Callable[[float], float]] = field(default_factory=dict)
    wait: Callable[[float], float] = lambda t: 0.0002
    busy: Callable[[float], float] = lambda t: 0.2 + 0.05 * math.sin(t / 17)
    waiting: Callable[[float], int] = lambda t: 0
    cpu: Callable[[float], float] = lambda t: 0.7 + 0.1 * math.sin(t / 23)
    #: What the requests of the incident do: label, activity, stack; and how many run.
    stuck: list[tuple[str, str, list[dict[str, Any]]]] = field(default_factory=list)
    stuck_count: int = 0
    #: (seconds since the incident, kind, level, worker, text).
    events: list[tuple[float, str, str, int | None, str]] = field(default_factory=list)
    now: dict[str, Any] = field(default_factory=dict)
    #: Seconds since the incident in which the server was started.
    started: float = -86_400 * 3.2
    generation: int = 3
    #: Text that clients and files have, for tests of injection.
    hostile: bool = False

    def scene(self, at: float) -> Scene:
        return Scene(self, at)


class Scene:
    """A scenario whose incident began INCIDENT seconds before `at`."""

    def __init__(self, scenario: Scenario, at: float) -> None:
        self.scenario = scenario
        self.began = round(at - INCIDENT)

    def now(self, at: float) -> dict[str, Any]:
        scenario, t = self.scenario, at - self.began
        threads = self._threads(at)
        busy = [sum(t["worker"] == w for t in threads) for w in range(scenario.workers)]
        answer = {
            "name": "lockgate",
            "version": "1.4.0",
            "pid": 4711,
            "now": at,
            "started": self.began + scenario.started,
            "show": "paths",
            "actions": False,
            "readiness": f"{scenario.workers} workers serve",
            "maintenance": "auto",
            "reload": {
                "state": "done",
                "begun": 3,
                "ended": 3,
                "ready": scenario.workers,
                "wanted": scenario.workers,
                "seconds": 0.0,
                "last_seconds": 3.4,
                "failed": 0,
                "why": "",
            },
            "workers": [
                {
                    "slot": slot,
                    "pid": 4720 + slot,
                    "state": "serving",
                    "generation": scenario.generation,
                    "uptime": max(at - self.began, 30.0),
                    "connections": 37 + slot * 5 % 11,
                    "requests": busy[slot],
                    "requests_waiting": scenario.waiting(t) // scenario.workers,
                    "requests_held": 0,
                    "threads": min(busy[slot] + 1, scenario.threads),
                    "threads_limit": scenario.threads,
                    "threads_busy": busy[slot],
                    "websockets": 0,
                    "responses": {"2xx": 812_344, "3xx": 1_120, "4xx": 8_211, "5xx": 61},
                    "lost": dict.fromkeys(LOSSES, 0),
                    "memory": (118 + slot * 7 % 23) << 20,
                    "cpu": scenario.cpu(t) / scenario.workers,
                }
                for slot in range(scenario.workers)
            ],
            "threads": threads,
            "limits": {
                "name": "lockgate",
                "limits": [],
                "capacity": 0,
                "evicted": 0,
                "uncounted": 0,
            },
            "certificates": [],
            "renewals": [],
            "cache": None,
        }
        for key, value in scenario.now.items():
            answer[key] = value(self, at, answer) if callable(value) else value
        return answer

    def _threads(self, at: float) -> list[dict[str, Any]]:
        scenario, t = self.scenario, at - self.began
        places = scenario.workers * scenario.threads
        stuck = [
            scenario.stuck[n % len(scenario.stuck)]
            for n in range(scenario.stuck_count if scenario.stuck and t >= 0 else 0)
        ]
        others = max(0, round(scenario.busy(t) * places) - len(stuck))
        passing = [
            ("GET /", "running", RENDER),
            ("POST /cart", "GIL", TOTAL),
            ("GET /orders/*", DATABASE, QUERY),
            ("GET /products/*", "running", RENDER),
        ]
        rows = stuck + [passing[n % len(passing)] for n in range(others)]
        found = []
        for n, (label, activity, frames) in enumerate(rows[:places]):
            method, _, path = label.partition(" ")
            is_stuck = n < len(stuck)
            age = 0.4 + (n * 0.731) % 4 + (at * 1.0) % 1 if is_stuck else 0.004 + (n * 0.013) % 0.05
            found.append(
                {
                    "worker": n % scenario.workers,
                    "pid": 4720 + n % scenario.workers,
                    "thread": 5000 + n,
                    "label": HOSTILE if scenario.hostile else label,
                    "method": method,
                    "target": HOSTILE
                    if scenario.hostile
                    else path.replace("*", str(1000 + n * 37)),
                    "age": age,
                    "client": f"192.0.2.{10 + n % 200}",
                    "request_id": HOSTILE
                    if scenario.hostile
                    else f"0af7651916cd43dd8448eb21{n:08x}",
                    "activity": activity,
                    "frames": frames,
                }
            )
        return found

    def history(self, at: float, start: float, end: float, step: float) -> dict[str, Any]:
        scenario = self.scenario
        begin = max(start, self.began + scenario.started)
        first = math.ceil(begin / step) * step
        times = [first + n * step for n in range(max(0, int((min(end, at) - first) / step)))]
        points: dict[str, Any] = {"time": times}
        rates = [scenario.rate(t - self.began) for t in times]
        counts = [round(rate * step * noise(t)) for rate, t in zip(rates, times, strict=True)]
        errors = [
            round(n * scenario.errors(t - self.began)) for n, t in zip(counts, times, strict=True)
        ]
        points["2xx"] = [n - round(n * 0.05) - e for n, e in zip(counts, errors, strict=True)]
        points["3xx"] = [round(n * 0.02) for n in counts]
        points["4xx"] = [round(n * 0.03) for n in counts]
        points["5xx"] = errors
        points["lost"] = {
            name: [
                round(scenario.lost[name](t - self.began) * step) if name in scenario.lost else 0
                for t in times
            ]
            for name in LOSSES
        }
        points["durations"] = [
            histogram(n, *scenario.latency(t - self.began))
            for n, t in zip(counts, times, strict=True)
        ]
        points["waits"] = [
            histogram(n, scenario.wait(t - self.began), 0.9)
            for n, t in zip(counts, times, strict=True)
        ]
        places = scenario.workers * scenario.threads
        means = [
            m * math.exp(s * s / 2) for m, s in (scenario.latency(t - self.began) for t in times)
        ]
        gauges: dict[str, Callable[[float], float]] = {
            "connections": lambda t: 160 + round(9 * math.sin(t / 31)),
            "running": lambda t: min(places, round(scenario.busy(t) * places)),
            "threads": lambda t: places,
            "waiting": scenario.waiting,
            "workers": lambda t: scenario.workers,
            "held": lambda t: 0,
            "websockets": lambda t: 0,
            "memory": lambda t: (scenario.workers * 128 + round(3 * math.sin(t / 60))) << 20,
            "cpu": scenario.cpu,
        }
        for name, gauge in gauges.items():
            points[name] = [gauge(t - self.began) for t in times]
        points["taken"] = counts
        points["waited_seconds"] = [
            round(n * scenario.wait(t - self.began), 3) for n, t in zip(counts, times, strict=True)
        ]
        points["request_seconds"] = [round(n * m, 3) for n, m in zip(counts, means, strict=True)]
        points["received"] = [n * 640 for n in counts]
        points["sent"] = [n * 18_400 for n in counts]
        for name in ("limited", "cache_hits", "cache_misses"):
            points[name] = [0] * len(times)
        seconds = sum(points["request_seconds"])
        return {
            "now": at,
            "from": start,
            "to": end,
            "step": step,
            "bounds": BOUNDS,
            "points": points,
            "paths": self._paths(sum(counts), seconds, end),
            "slow": self._slow(at, start, end),
            "errors": self._errors(at, start, end),
            "events": self.events(0, start, min(end, at)),
        }

    def _paths(self, count: int, seconds: float, end: float) -> list[dict[str, Any]]:
        scenario = self.scenario
        stuck = {label for label, _, _ in scenario.stuck}
        is_incident = end > self.began
        weights = [part * (14 if is_incident and label in stuck else 1) for label, part in PATHS]
        rows = [
            {
                "label": HOSTILE + label if scenario.hostile else label,
                "seconds": round(seconds * weight / sum(weights), 2),
                "requests_seen": round(count * part / 12),
                "slowest": 7.31 if is_incident and label in stuck else 0.31,
                "share": weight / sum(weights),
            }
            for (label, part), weight in zip(PATHS, weights, strict=True)
        ]
        return sorted(rows, key=lambda row: -row["share"]) if count else []

    def _slow(self, at: float, start: float, end: float) -> list[dict[str, Any]]:
        scenario, found = self.scenario, []
        for n in range(24 if scenario.stuck else 0):
            label, activity, frames = scenario.stuck[n % len(scenario.stuck)]
            began = self.began + 4 + n * (at - self.began - 8) / 24
            if not start <= began <= end:
                continue
            method, _, path = label.partition(" ")
            seconds = 1.6 + (n * 1.37) % 5.7
            seen = max(1, round(seconds * 2))
            found.append(
                {
                    "id": n + 1,
                    "label": HOSTILE if scenario.hostile else label,
                    "method": method,
                    "target": HOSTILE
                    if scenario.hostile
                    else path.replace("*", str(1000 + n * 41)),
                    "worker": n % scenario.workers,
                    "thread": 5000 + n,
                    "began": began,
                    "seconds": min(seconds, at - began),
                    "is_running": began + seconds > at,
                    "client": f"192.0.2.{20 + n}",
                    "request_id": f"4bf92f3577b34da6a3ce929d{n:08x}",
                    "samples": [
                        {"count": seen, "activity": activity, "frames": frames},
                        {"count": 1, "activity": "running", "frames": RENDER},
                    ],
                }
            )
        return found

    def _errors(self, at: float, start: float, end: float) -> list[dict[str, Any]]:
        """What the requests of the incident raise, and one that a framework has answered itself."""
        scenario = self.scenario
        if not scenario.stuck or not start <= at <= end + 60:
            return []
        raised = [(label, frames) for label, _, frames in scenario.stuck]
        found = []
        for n, (label, frames) in enumerate([*raised, ("POST /checkout", [])]):
            found.append(
                {
                    "label": HOSTILE if scenario.hostile else label,
                    "status": 500 if n else None,
                    "count": 1200 // (n + 1),
                    "first": self.began + 3.0,
                    "last": at - 1,
                    "exception": "psycopg.OperationalError" if frames else "",
                    "message": HOSTILE if scenario.hostile else "",
                    "worker": n % scenario.workers,
                    "request_id": f"4bf92f3577b34da6a3ce929d{n:08x}",
                    "frames": frames,
                }
            )
        return found

    def events(self, after: int, start: float = 0, end: float = math.inf) -> list[dict[str, Any]]:
        base = [
            (self.scenario.started, "start", "info", None, "4 workers are ready on 0.0.0.0:8000")
        ]
        found = []
        for number, (when, kind, level, worker, text) in enumerate(
            [*base, *sorted(self.scenario.events)], start=1
        ):
            if number > after and start <= self.began + when <= end:
                found.append(
                    {
                        "id": number,
                        "time": self.began + when,
                        "kind": kind,
                        "level": level,
                        "worker": worker,
                        "generation": self.scenario.generation,
                        "text": text,
                    }
                )
        return found


def noise(time: float) -> float:
    """A factor between 0.9 and 1.1 that belongs to a time."""
    return 0.9 + 0.2 * (math.sin(time * 12.9898) * 43_758.5453 % 1)


def histogram(count: int, median: float, spread: float) -> list[int]:
    """How many of `count` durations fall into each bucket, by a log-normal distribution."""

    def below(bound: float | None) -> float:
        if bound is None:
            return 1.0
        return 0.5 + 0.5 * math.erf(math.log(bound / median) / spread / math.sqrt(2))

    edges = [0, *(round(count * below(bound)) for bound in BOUNDS)]
    return [high - low for low, high in zip(edges, edges[1:], strict=False)]
