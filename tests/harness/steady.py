"""A steady load, half of it on new and half on kept-alive connections, that tolerates no failure.

Clients do not retry: a connection that closes under a request is a failure, and so is a refused
one. Between two requests of a kept-alive connection the server may close it only after it has said
so in a response.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter


class SteadyLoad:
    """About `rate` requests a second until stopped."""

    def __init__(self, address: tuple[str, int], *, rate: int = 200, clients: int = 8) -> None:
        self.address = address
        self.pause = clients / rate
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._ends_with_server = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number % 2 == 0,), daemon=True)
            for number in range(clients)
        ]

    def __enter__(self) -> SteadyLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()

    @property
    def ok(self) -> int:
        return self.answers.total()

    def expect_stop(self) -> None:
        """Ends each client whose connection is refused; accepted connections count."""
        self._ends_with_server.set()

    def join(self, within: float = 30.0) -> None:
        deadline = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), "a client hangs"

    def _run(self, keeps_alive: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        due = time.monotonic()
        while not self._stopped.is_set():
            if connection is None:
                connection = http.client.HTTPConnection(*self.address, timeout=20)
                # A lost connection is a failure; it must not be reopened.
                connection.auto_open = 0
                try:
                    connection.connect()
                except OSError as error:
                    if self._ends_with_server.is_set():
                        return
                    self._fail(f"connecting: {error!r}")
                    connection = None
                    time.sleep(self.pause)
                    continue
            try:
                connection.request(
                    "GET", "/", headers={} if keeps_alive else {"Connection": "close"}
                )
                response = connection.getresponse()
                body = response.read().decode()
                if response.status != 200:
                    raise http.client.HTTPException(f"{response.status} {body[:100]}")
            except (OSError, http.client.HTTPException) as error:
                self._fail(f"{'kept' if keeps_alive else 'new'}: {error!r}")
                connection.close()
                connection = None
            else:
                with self._lock:
                    self.answers[body] += 1
                if not keeps_alive or response.will_close:
                    connection.close()
                    connection = None
            due = max(due + self.pause, time.monotonic() - self.pause)
            self._stopped.wait(max(0.0, due - time.monotonic()))
        if connection is not None:
            connection.close()

    def _fail(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)
