"""The named situations that the page is tested in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from window.scenarios import (
    DATABASE,
    HOSTILE,
    INCIDENT,
    QUERY,
    RENDER,
    TOTAL,
    Scenario,
    Scene,
    frame,
)


def after(t: float, usual: Any, then: Any) -> Any:
    return usual if t < 0 else then


def ramp(t: float, usual: float, then: float, seconds: float = 20) -> float:
    """From one value to another within some seconds of the incident."""
    return usual + (then - usual) * min(max(t / seconds, 0), 1)


def reload(**fields: Any) -> Callable[..., dict[str, Any]]:
    """The member `reload` of /now with some other fields."""
    return lambda scene, at, answer: {**answer["reload"], **fields}


def moving(scene: Scene, at: float, answer: dict[str, Any]) -> Any:
    for worker in answer["workers"]:
        worker["state"] = "draining" if worker["slot"] % 7 == 3 else "serving"
        worker["uptime"] = 9_000.0 if worker["slot"] % 3 else 20.0
    return answer["workers"]


def replaced(scene: Scene, at: float, answer: dict[str, Any]) -> Any:
    answer["workers"][2].update(pid=4899, uptime=at - scene.began - 1.2)
    return answer["workers"]


def certificates(scene: Scene, at: float, answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "names": ["shop.example", "www.shop.example"],
            "issuer": "R11",
            "serial": "0a1b",
            "key": "ECDSA P-256",
            "source": "acme",
            "not_before": int(at) - 50 * 86_400,
            "not_after": int(at) + 40 * 86_400,
            "expires_in_days": 40,
        }
    ]


RELOAD = [
    (-16.0, "reload_begun", "info", None, "reload 4 begins: SIGHUP of pid 812"),
    (-12.2, "reload_done", "info", None, "reload 4 is done: generation 4 serves, 3.8 s"),
]
WHY = """cannot load shop.wsgi:app: ModuleNotFoundError: No module named 'payments'
Traceback (most recent call last):
  File "/srv/shop/shop/wsgi.py", line 7, in <module>
    from shop import checkout
  File "/srv/shop/shop/checkout.py", line 3, in <module>
    import payments
ModuleNotFoundError: No module named 'payments'"""
DEATH = (
    "worker 2 (pid 4722) was killed by SIGSEGV after 211 s; it is replaced at once; "
    "1 request was in flight: GET /orders/1204 of 192.0.2.14, 0.31 s old"
)
OVERLOAD = "overload begins: queue_size (512) requests wait, others get 503"
OFFENDER = {"key": "198.51.100.23", "refused": 1_100, "since": 911.0}
LOGIN = {"name": "login", "measure": "5/min", "refused": 1_204, "would_refuse": 0}
SEARCH = {"name": "search", "measure": "10 at once", "refused": 0, "would_refuse": 31}
LIMITS = {"limits": [{**LOGIN, "offenders": [OFFENDER]}, {**SEARCH, "offenders": []}]}
CACHE = {
    "hits": 91_000,
    "misses": 12_400,
    "collapsed": 310,
    "stored": 11_980,
    "evicted": 120,
    "purged": 44,
    "refused": 0,
    "corrupt": 0,
    "entries": 4_210,
    "bytes": 48 << 20,
    "capacity": 64 << 20,
}
EXTRAS: dict[str, Any] = {"limits": LIMITS, "cache": CACHE, "certificates": certificates}

SITUATIONS: dict[str, Scenario] = {
    "quiet": Scenario(now=EXTRAS),
    "one_worker": Scenario(workers=1, threads=2, rate=lambda t: 3.0),
    "overload": Scenario(
        rate=lambda t: ramp(t, 142, 390, 12),
        latency=lambda t: (ramp(t, 0.021, 0.09), 0.8),
        errors=lambda t: after(t, 0.0004, 0.31),
        lost={
            "queue_full": lambda t: after(t, 0, 96),
            "queue_timeout": lambda t: after(t, 0, 24),
        },
        wait=lambda t: ramp(t, 0.0002, 1.9),
        busy=lambda t: ramp(t, 0.2, 1.0, 6),
        waiting=lambda t: round(ramp(t, 0, 512, 10)),
        cpu=lambda t: ramp(t, 0.7, 3.9),
        stuck=[
            ("GET /", "running", RENDER),
            ("POST /cart", "GIL", TOTAL),
            ("GET /products/*", "GIL", RENDER),
        ],
        stuck_count=16,
        events=[(8.0, "overload_begun", "warning", None, OVERLOAD)],
        now={**EXTRAS, "actions": True},
    ),
    "failing_reload": Scenario(
        events=[
            (-2.0, "reload_begun", "info", None, "reload 4 begins: lockgate ctl reload"),
            (0.0, "reload_failed", "error", None, f"reload 4 has failed: {WHY}"),
        ],
        now={
            "reload": reload(
                state="failed", begun=4, ended=4, failed=1, ready=0, why=WHY, last_seconds=1.9
            )
        },
    ),
    "dead_worker": Scenario(
        events=[
            (0.0, "worker_died", "error", 2, DEATH),
            (1.2, "log", "info", 2, "worker 2 (pid 4899) is ready"),
        ],
        now={"workers": replaced},
        lost={"aborted": lambda t: 1 if 0 <= t < 5 else 0},
    ),
    "database": Scenario(
        generation=4,
        rate=lambda t: ramp(t, 142, 48),
        latency=lambda t: (ramp(t, 0.021, 1.1), 0.75),
        wait=lambda t: ramp(t, 0.0002, 0.35),
        busy=lambda t: ramp(t, 0.2, 0.94, 8),
        waiting=lambda t: round(ramp(t, 0, 9)),
        cpu=lambda t: ramp(t, 0.7, 0.22),
        stuck=[("GET /orders/*", DATABASE, QUERY)],
        stuck_count=14,
        events=RELOAD,
        now={**EXTRAS, "reload": reload(begun=4, ended=4, last_seconds=3.8)},
    ),
    "many": Scenario(
        workers=64,
        threads=8,
        rate=lambda t: 4_200 + 300 * math.sin(t / 40),
        cpu=lambda t: 38.0,
        busy=lambda t: 0.33,
        events=[(180.0, "reload_begun", "info", None, "reload 4 begins: SIGHUP of pid 812")],
        now={
            **EXTRAS,
            "workers": moving,
            "reload": reload(state="moving", begun=4, ready=22, wanted=64, seconds=31.0),
        },
    ),
    "nothing": Scenario(
        rate=lambda t: 0,
        busy=lambda t: 0,
        cpu=lambda t: 0,
        started=INCIDENT - 3,
        now={"reload": reload(state="never", begun=0, ended=0, last_seconds=0.0)},
    ),
    "hostile": Scenario(
        stuck=[(HOSTILE, f"network {HOSTILE}", [frame(HOSTILE, 1, HOSTILE, HOSTILE)])],
        stuck_count=6,
        latency=lambda t: (ramp(t, 0.021, 1.1), 0.75),
        events=[
            (-1.0, HOSTILE, HOSTILE, None, HOSTILE),
            (0.0, "reload_failed", "error", 2, HOSTILE),
        ],
        now={
            "version": HOSTILE,
            "readiness": HOSTILE,
            "maintenance": HOSTILE,
            "reload": reload(state="failed", why=HOSTILE),
            "limits": {
                "limits": [
                    {
                        **LOGIN,
                        "name": HOSTILE,
                        "measure": HOSTILE,
                        "offenders": [{**OFFENDER, "key": HOSTILE}],
                    }
                ]
            },
            "certificates": lambda scene, at, answer: [
                {**one, "names": [HOSTILE], "issuer": HOSTILE, "source": HOSTILE}
                for one in certificates(scene, at, answer)
            ],
            "renewals": [
                {
                    "name": HOSTILE,
                    "directory": HOSTILE,
                    "last_success": 1,
                    "last_attempt": 2,
                    "next_attempt": 3,
                    "failures": 3,
                    "last_error": HOSTILE,
                }
            ],
        },
        hostile=True,
    ),
}
