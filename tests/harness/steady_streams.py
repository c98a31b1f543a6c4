"""A steady load over HTTP/2 that tolerates no failure, with several streams on each connection.

A request goes out again on a new connection only where RFC 9113 says that it was not processed: its
stream is above the last one of a GOAWAY (§6.8), or was refused (§8.7). Everything else that is not
a whole 200 is a failure.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter

from harness.http2 import GET, REFUSED_STREAM, Http2, Violation, headers


class SteadyStreams:
    """`clients` connections, each with `streams` requests at a time, until stopped."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        clients: int = 4,
        streams: int = 4,
        rate: int = 200,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.address, self.streams, self.context = address, streams, context
        self.pause = clients * streams / rate
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._ends_with_server = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> SteadyStreams:
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

    def _run(self) -> None:
        connection: Http2 | None = None
        due, stream = time.monotonic(), 1
        while not self._stopped.is_set():
            if connection is None:
                try:
                    connection = Http2(self.address, timeout=20, context=self.context)
                except OSError as error:
                    if self._ends_with_server.is_set():
                        return
                    self._fail(f"connecting: {error!r}")
                    self._stopped.wait(self.pause)
                    continue
                stream = 1
                with self._lock:
                    self.connections += 1
            numbers = range(stream, stream + 2 * self.streams, 2)
            stream += 2 * self.streams
            connection.send(*(headers(number, GET) for number in numbers))
            goes_on = [self._answered(connection, number) for number in numbers]
            if not all(goes_on) or connection.goaways:
                connection.socket.close()
                connection = None
            due = max(due + self.pause, time.monotonic() - self.pause)
            self._stopped.wait(max(0.0, due - time.monotonic()))
        if connection is not None:
            connection.socket.close()

    def _answered(self, connection: Http2, number: int) -> bool:
        """Whether the connection goes on behind this stream."""
        found = connection.streams[number]

        def is_unprocessed() -> bool:
            return any(number > last for last, _, _ in connection.goaways) or (
                found.reset == REFUSED_STREAM
            )

        try:
            connection.wait(
                lambda: found.is_ended or found.reset is not None or is_unprocessed(), "an answer"
            )
        except (Violation, OSError) as error:
            if not is_unprocessed():
                self._fail(f"stream {number}: {error!r}"[:600])
            return False
        if found.is_ended and found.status == 200:
            with self._lock:
                self.answers[found.body.decode()] += 1
            return True
        if not is_unprocessed():
            self._fail(f"stream {number}: {found}"[:600])
        return False

    def _fail(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)
