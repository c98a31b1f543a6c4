"""How much memory workers share that come from one import: `.venv/bin/python bench/sharing.py`.

Eight workers of bench/django_shop.py, with and without preload, beside gunicorn's. Memory is the
sum of the proportional sets (PSS) of all processes, supervisor and template included, after 4,000
requests on new connections, so that all workers have had some.
"""

from __future__ import annotations

import argparse
import http.client
import time
from dataclasses import replace

import peers
from catalogue import Scenario, Server, choose_servers
from process import DidNotServe, Running, process_tree

APP = "django_shop:application"
WORKERS = 8
REQUESTS = 4_000
SETTLE_SECONDS = 10.0


def ask(port: int, path: str, times: int) -> None:
    for _ in range(times):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise DidNotServe(f"status {answer.status}")
        connection.close()


def settle(pid: int, workers: int) -> None:
    """Waits for all workers: the first one to be ready answers already."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while len(process_tree(pid)) <= workers:
        if time.monotonic() > deadline:
            raise DidNotServe("not all workers came")
        time.sleep(0.1)


def measure(server: Server, path: str, workers: int, requests: int) -> tuple[float, float]:
    """MiB of all processes before and after the requests."""
    scenario = Scenario(server.name, "", APP, answer=None, workers=workers)
    with Running(server, scenario, None) as running:
        settle(running.process.pid, workers)
        before = running.usage().pss
        ask(running.port, path, requests)
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
    parser.add_argument("--path", default="/", help="/any reads everywhere")
    options = parser.parse_args()
    peers.set_up()
    one = 0.0
    for name, server in variants():
        if "--preload" not in name:
            one = measure(server, options.path, 1, options.requests // options.workers)[1]
            print(f"{name:28} 1 worker, after its requests {one:6.0f} MiB")
        before, after = measure(server, options.path, options.workers, options.requests)
        print(
            f"{name:28} {options.workers} workers {before:6.0f} MiB, "
            f"after {options.requests} requests {after:6.0f} MiB: {after / one:.2f} of one",
            flush=True,
        )


if __name__ == "__main__":
    main()
