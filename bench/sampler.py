"""A client that keeps one connection and times single requests, without load on the server."""

from __future__ import annotations

import socket
import time

GET = "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Sampler:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, path: str = "/") -> float:
        """Milliseconds until the answer, which has to come in one piece."""
        begun = time.perf_counter()
        self.send(path)
        self.receive()
        return (time.perf_counter() - begun) * 1000

    def send(self, path: str = "/") -> None:
        self.socket.sendall(GET.format(path=path).encode())

    def receive(self) -> None:
        answer = self.socket.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"answered {answer[:40]!r}")

    def ask_for(self, seconds: float, pause: float, path: str = "/") -> list[float]:
        """Times of requests with a pause after each."""
        end, times = time.perf_counter() + seconds, []
        while time.perf_counter() < end:
            times.append(self.ask(path))
            time.sleep(pause)
        return times


def percentile(times: list[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
