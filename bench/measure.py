"""One measurement: a fresh server, a warm-up, a measured run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import load
import machine
from catalogue import Scenario, Server
from process import DidNotServe, Running


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: int
    warm_up: int
    connections: int
    # One for the server, one for wrk; None leaves both to the kernel.
    cores: tuple[int, int] | None


def measure(server: Server, scenario: Scenario, plan: Plan) -> dict:
    """The figures of one round, or `failure` with the reason."""
    server_core, client_core = plan.cores if plan.cores and scenario.pinned else (None, None)
    try:
        with Running(server, scenario, server_core) as running:
            watched = [server_core, client_core] if plan.cores and scenario.pinned else None
            return _under_load(running, scenario, plan, client_core, watched or machine.cores())
    except (DidNotServe, load.LoadFailed, OSError) as error:
        return {"failure": str(error).replace(str(machine.ROOT), ".")}


def _under_load(
    running: Running, scenario: Scenario, plan: Plan, core: int | None, watched: list[int]
) -> dict:
    def wrk(seconds: int) -> list[str]:
        return load.wrk_command(scenario, running.port, seconds, plan.connections, core)

    if plan.warm_up:
        load.run(wrk(plan.warm_up), plan.warm_up)
    busy, moment, before = machine.busy_seconds(watched), time.monotonic(), running.usage()
    result = load.run(wrk(plan.seconds), plan.seconds)
    after, busy = running.usage(), machine.busy_seconds(watched) - busy
    elapsed = time.monotonic() - moment
    user, system = after.user - before.user, after.system - before.system
    per_request = 1e6 / result.requests
    others = busy - user - system - result.processor
    return {
        "cpu": (user + system) * per_request,
        "cpu_user": user * per_request,
        "cpu_system": system * per_request,
        "rate": result.rate,
        "requests": result.requests,
        "p50": result.p50,
        "p99": result.p99,
        "rss": after.rss,
        "pss": after.pss,
        # Shares of one core.
        "server_load": (user + system) / elapsed,
        "client_load": result.processor / elapsed,
        "others_load": max(0.0, others / elapsed),
        "errors": result.errors,
        "port": running.port,
        "server_command": " ".join(running.command),
        "client_command": " ".join(wrk(plan.seconds)),
    }
