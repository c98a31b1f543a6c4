"""Metrics that are sent to statsd, by gunicorn's names."""

import os
import re
import signal
import socket
import threading
import time
from collections import Counter

import pytest
from harness import eventually


class Statsd:
    """A statsd server that keeps every line."""

    def __init__(self, family=socket.AF_INET, address=("127.0.0.1", 0)):
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(0.2)
        self.lines = []
        self.largest = 0
        self._is_open = True
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    @property
    def address(self):
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def _receive(self):
        while self._is_open:
            try:
                datagram = self.socket.recv(65536)
            except TimeoutError:
                continue
            self.largest = max(self.largest, len(datagram))
            self.lines += datagram.decode("ascii").split("\n")

    def total(self, name):
        """The sum of a counter."""
        found = (re.fullmatch(rf"{re.escape(name)}:(\d+)\|c\|@1\.0", line) for line in self.lines)
        return sum(int(match[1]) for match in found if match)

    def close(self):
        self._is_open = False
        self._thread.join()
        self.socket.close()


@pytest.fixture
def statsd():
    server = Statsd()
    yield server
    server.close()


def test_requests_have_gunicorns_metrics(start, statsd):
    server = start("faults:app", "--statsd-host", statsd.address, "--workers", "2")
    for _ in range(20):
        assert server.get("/pid").status == 200
    assert server.get("/raise-before").status == 500
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
        assert wire.response().status == 400
    eventually(lambda: statsd.total("gunicorn.requests") == 22, what="22 requests")
    assert statsd.total("gunicorn.request.status.500") == 1
    assert statsd.total("gunicorn.request.status.400") == 1
    eventually(lambda: "gunicorn.workers:2|g" in statsd.lines, what="the number of workers")
    assert statsd.total("gunicorn.log.exception") == 1
    durations = [line for line in statsd.lines if line.startswith("gunicorn.request.duration:")]
    assert len(durations) == 21
    assert all(re.fullmatch(r"gunicorn\.request\.duration:\d+\.\d{3}\|ms", it) for it in durations)
    known = r"gunicorn\.(requests|request\.(duration|status\.\d+)|workers|log\.\w+):\d"
    assert all(re.match(known, line) for line in statsd.lines), statsd.lines
    assert server.stop() == 0


def test_prefix_and_tags_are_on_each_line(start, statsd):
    server = start(
        "hello:app",
        *("--statsd-host", statsd.address, "--statsd-prefix", "shop."),
        *("--dogstatsd-tags", "env:test,zone:1"),
    )
    server.get("/")
    eventually(lambda: any(".requests:" in line for line in statsd.lines), what="requests")
    assert all(line.startswith("shop.gunicorn.") for line in statsd.lines)
    assert all(line.endswith("|#env:test,zone:1") for line in statsd.lines)


def test_what_was_served_just_before_a_stop_is_sent(start, statsd):
    server = start("hello:app", "--statsd-host", statsd.address)
    for _ in range(5):
        server.get("/")
    assert server.stop() == 0
    eventually(lambda: statsd.total("gunicorn.requests") == 5, what="5 requests")


def test_the_number_of_workers_follows_the_server(start, statsd):
    server = start("hello:app", "--statsd-host", statsd.address)
    eventually(lambda: "gunicorn.workers:1|g" in statsd.lines, what="one worker")
    server.signal(signal.SIGTTIN)
    eventually(lambda: "gunicorn.workers:2|g" in statsd.lines, what="two workers")
    [first, _] = server.workers()
    os.kill(first, signal.SIGKILL)
    # What the supervisor logs is reported by a worker.
    eventually(lambda: statsd.total("gunicorn.log.error") == 1, what="the death")


def test_a_unix_socket_and_a_server_that_comes_later(start, tmp_path):
    path = tmp_path / "statsd.sock"
    server = start("hello:app", "--statsd-host", f"unix://{path}")
    server.get("/")
    warning = server.wait_for_log(r"\[WARNING\] statsd_host = unix://.*")
    assert str(path) in warning
    statsd = Statsd(socket.AF_UNIX, str(path))
    try:

        def is_received():
            server.get("/")
            return statsd.total("gunicorn.requests")

        eventually(is_received, what="requests")
        # Another server takes the address over.
        path.unlink()
        second = Statsd(socket.AF_UNIX, str(path))
        try:
            statsd, first = second, statsd
            first.close()
            eventually(is_received, what="requests at the second server")
        finally:
            pass
    finally:
        statsd.close()
    assert server.errors.count("statsd_host") == 1


def test_a_name_that_does_not_resolve_slows_no_request(start):
    server = start("hello:app", "--statsd-host", "no-such-host.invalid:8125")
    begun = time.monotonic()
    for _ in range(50):
        assert server.get("/").status == 200
    assert time.monotonic() - begun < 5
    server.wait_for_log(r"\[WARNING\] statsd_host = no-such-host\.invalid:8125: ", within=40)


def test_a_backlog_is_a_histogram_on_demand(start, statsd):
    server = start(
        "hello:app", "--statsd-host", statsd.address, "--enable-backlog-metric", "--workers", "2"
    )
    eventually(lambda: "gunicorn.backlog:0|h" in statsd.lines, what="the backlog")
    assert server.stop() == 0


DURATION = re.compile(r"gunicorn\.request\.duration:[\d.]+\|ms(?:\|@(0\.\d+))?")


def test_many_requests_are_sampled_with_their_rate(start, statsd):
    """More than a thousand durations in a second of one worker."""
    server = start("hello:app", "--statsd-host", statsd.address)
    pipelined = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 400
    with server.connect() as wire:
        for _ in range(10):
            wire.send(pipelined)
            for _ in range(400):
                assert wire.response().status == 200
    eventually(lambda: statsd.total("gunicorn.requests") == 4000, what="4000 requests")

    def total():
        weights = Counter()
        for line in list(statsd.lines):
            if found := DURATION.fullmatch(line):
                weights[found[1] or "1"] += 1
        return sum(count / float(rate) for rate, count in weights.items())

    # Other datagrams have them than have the number of requests.
    eventually(lambda: abs(total() - 4000) < 40, what="the durations of 4000 requests")
    assert statsd.largest <= 1432


def test_without_a_host_no_thread_and_no_socket_exist(start):
    server = start("hello:app", "--statsd-prefix", "unused")
    [worker] = server.workers()
    names = []
    for task in os.listdir(f"/proc/{worker}/task"):
        with open(f"/proc/{worker}/task/{task}/comm") as file:
            names.append(file.read().strip())
    assert not any("statsd" in name for name in names), names
