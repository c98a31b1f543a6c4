"""Customers of the shop: they read pages and place orders until standard input ends.

    python -m machines.client HOST PORT READERS BUYERS

Prints one line of JSON with what failed: see `Outcome` in machines.customers. A request fails
unless a whole 200 comes back within PATIENCE. As in browsers, a GET is sent once more if its kept
connection closes before any byte of an answer (RFC 9112 §9.3.1); a POST is not.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter

#: Seconds. Longer than any wait that a recipe allows: a timeout here is one that users see.
PATIENCE = 15.0
#: Seconds between two requests of one customer.
PAUSE = 0.015


class Customers:
    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.answered: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.hosts: Counter[str] = Counter()
        self.placed: list[str] = []
        self.refused: list[str] = []
        self.slowest = 0.0
        self.repeated = 0

    def run(self, method: str, number: int) -> None:
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        count = 0
        is_kept = False
        while not self.over.wait(PAUSE):
            count += 1
            order = f"{number}-{count}" if method == "POST" else None
            began = time.monotonic()
            try:
                try:
                    status, body = ask(connection, method, order)
                except (http.client.RemoteDisconnected, ConnectionResetError):
                    if method != "GET" or not is_kept:
                        raise
                    with self.lock:
                        self.repeated += 1
                    connection.close()
                    status, body = ask(connection, method, order)
                failure = None if status == 200 else str(status)
            except (OSError, http.client.HTTPException) as error:
                failure = type(error).__name__
                connection.close()
            is_kept = connection.sock is not None
            with self.lock:
                self.slowest = max(self.slowest, time.monotonic() - began)
                if failure is not None:
                    self.failures[f"{method} {failure}"] += 1
                else:
                    self.answered[method] += 1
                    self.hosts[body.split()[0]] += 1
                if order is not None:
                    (self.placed if failure is None else self.refused).append(order)
        connection.close()


def ask(connection: http.client.HTTPConnection, method: str, order: str | None) -> tuple[int, str]:
    connection.request(method, "/", body=order)
    response = connection.getresponse()
    return response.status, response.read().decode("latin-1")


def main(host: str, port: str, readers: str, buyers: str) -> None:
    customers = Customers((host, int(port)))
    methods = ["GET"] * int(readers) + ["POST"] * int(buyers)
    threads = [
        threading.Thread(target=customers.run, args=(method, number))
        for number, method in enumerate(methods)
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    customers.over.set()
    for thread in threads:
        thread.join()
    outcome = {
        "answered": customers.answered,
        "failures": customers.failures,
        "hosts": customers.hosts,
        "placed": customers.placed,
        "refused": customers.refused,
        "slowest": customers.slowest,
        "repeated": customers.repeated,
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
