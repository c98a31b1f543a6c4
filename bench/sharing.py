"""How much memory workers share that come from one import: `.venv/bin/python bench/sharing.py`.

Eight workers of bench/django_shop.py, with and without preload, beside gunicorn's. Memory is the
sum of the proportional sets (PSS) of all processes, supervisor and template included, after 4,000
requests on new connections, so that all workers have had some.
"""

from __future__ import annotations

import argparse
import http.client
from dataclasses import replace

import peers
from catalogue import Scenario, Server, choose_servers
from process import DidNotServe, Running

APP = "django_shop:application"
WORKERS = 8
REQUESTS = 4_000


def ask(port: int, times: int) -> None:
    for _ in range(times):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise DidNotServe(f"status {answer.status}")
        connection.close()


def measure(server: Server, workers: int, requests: int) -> tuple[float, float]:
    """MiB of all processes before and after the requests."""
    scenario = Scenario(server.name, "", APP, answer=None, workers=workers)
    with Running(server, scenario, None) as running:
        before = running.usage().pss
        ask(running.port, requests)
        return before, running.usage().pss


def variants() -> list[tuple[str, Server]]:
    found = []
    for name in ("lockgate", "gunicorn-gthread"):
        (server,) = choose_servers([name])
        for flags in ("", " --preload"):
            variant = replace(server, name=f"{name}-sharing", command=server.command + flags)
            found.append((name + flags, variant))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    options = parser.parse_args()
    peers.set_up()
    for name, server in variants():
        one = measure(server, 1, options.requests // options.workers)[1]
        before, after = measure(server, options.workers, options.requests)
        print(
            f"{name:28} one worker {one:6.0f} MiB   {options.workers} workers {before:6.0f} MiB, "
            f"after {options.requests} requests {after:6.0f} MiB: {after / one:.2f} of one"
        )


if __name__ == "__main__":
    main()
