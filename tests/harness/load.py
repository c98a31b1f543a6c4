"""A small threaded load that counts every failure and accepts only the failures that it expects."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass


@dataclass
class Failure:
    at: float  # time.monotonic()
    began: float
    error: str


class Load:
    """`clients` threads that each send one request after another until stopped.

    A request fails unless a whole 200 comes back. After `expect_stop`, a refused connection ends
    its client quietly; everything else still counts.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        clients: int = 4,
        keep_alive: bool = True,
        path: str = "/",
    ) -> None:
        self.address, self.keep_alive, self.path = address, keep_alive, path
        self.clients = clients
        self.ok = 0
        self.failures: list[Failure] = []
        self.answers: Counter[bytes] = Counter()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._stop_expected = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def expect_stop(self) -> None:
        self._stop_expected.set()

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def join(self, within: float = 30.0) -> None:
        deadline = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), "a client hangs"

    def _run(self) -> None:
        connection = None
        while not self._stopped.is_set():
            if connection is None:
                connection = http.client.HTTPConnection(*self.address, timeout=20)
            began = time.monotonic()
            try:
                headers = {} if self.keep_alive else {"Connection": "close"}
                connection.request("GET", self.path, headers=headers)
                response = connection.getresponse()
                body = response.read()
                if response.status != 200:
                    raise http.client.HTTPException(f"status {response.status}: {body[:100]!r}")
            except ConnectionRefusedError as error:
                if self._stop_expected.is_set():
                    return
                self._fail(began, error)
                connection = None
            except (OSError, http.client.HTTPException) as error:
                self._fail(began, error)
                connection.close()
                connection = None
            else:
                with self._lock:
                    self.ok += 1
                    self.answers[body] += 1
                if not self.keep_alive:
                    connection.close()
                    connection = None
        if connection is not None:
            connection.close()

    def _fail(self, began: float, error: Exception) -> None:
        with self._lock:
            self.failures.append(Failure(time.monotonic(), began, repr(error)))
