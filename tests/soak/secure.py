"""Deploys over TLS and HTTP/2 under a steady load: no request may fail.

python -m soak.secure [--times 20] [--rate 200] [--directory D]

Half of the clients speak HTTP/1.1 on kept connections, half HTTP/2 with several streams at a time;
all of them over TLS, and each takes a new connection now and then. A request goes out again where
the protocol says that it was not processed: a kept HTTP/1 connection that closes before the answer
(RFC 9112 §9.3.1), and a stream above the last one of a GOAWAY or one that was refused (RFC 9113
§6.8, §8.7). Everything else that is not the right answer is a fault.
"""

from __future__ import annotations

import argparse
import http.client
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from harness import http2

from soak import drills
from soak.content import content
from soak.site import PATIENCE, Site

SIZES = (0, 13, 1000, 40_000)
STREAMS = 4
# A client leaves its connection after about as many requests.
REQUESTS_PER_CONNECTION = 40
MOST_FAULTS = 20


class NotProcessed(Exception):
    """The server has not processed the request: it may go out again."""


class NotAccepted(Exception):
    """No connection could be made."""


def pair_of_files(directory: Path) -> dict[str, str]:
    """A certificate for 127.0.0.1, as settings."""
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = directory / "tls.crt", directory / "tls.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += " -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return {"certfile": str(certificate), "keyfile": str(key)}


class Load:
    """The clients of one server; has what the drills ask of a load."""

    def __init__(self, address: tuple[str, int], certificate: str, rate: float, clients: int = 8):
        self.address, self.certificate = address, certificate
        self.pause = clients / rate
        self.versions: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.again = 0
        self.faults: list[str] = []
        self.is_stop_expected = False
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        kinds = (Http1, Http2)
        self.clients = [Client(self, number, kinds[number % 2]) for number in range(clients)]

    def __enter__(self) -> Load:
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()

    @property
    def total(self) -> int:
        return self.kinds.total()

    def counts(self) -> Counter[str]:
        with self._lock:
            return Counter(requests=self.total, again=self.again)

    def expect_stop(self) -> None:
        self.is_stop_expected = True

    def join(self) -> None:
        for client in self.clients:
            client.join(2 * PATIENCE)
            if client.is_alive():
                self.fault(client.name, "hangs")

    def goes_on(self, seconds: float) -> bool:
        return not self._stopped.wait(seconds)

    def answered(self, kind: str, version: str) -> None:
        with self._lock:
            self.kinds[kind] += 1
            self.versions[version] += 1

    def note_again(self) -> None:
        with self._lock:
            self.again += 1

    def fault(self, what: str, why: object) -> None:
        with self._lock:
            if len(self.faults) < MOST_FAULTS:
                self.faults.append(f"{what}: {why}")

    def connect(self, protocol: str) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.certificate)
        context.set_alpn_protocols([protocol])
        try:
            plain = socket.create_connection(self.address, PATIENCE)
        except OSError as error:
            raise NotAccepted(repr(error)) from error
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return context.wrap_socket(plain, server_hostname="127.0.0.1")
        except OSError as error:
            plain.close()
            raise NotAccepted(repr(error)) from error


class Http1:
    """Asks one thing at a time on a connection that is kept."""

    NAME = "HTTP/1.1"

    def __init__(self, load: Load) -> None:
        self.wire = http.client.HTTPConnection("127.0.0.1")
        self.wire.sock = load.connect("http/1.1")
        self.is_used = False
        self.is_over = False

    def ask(self, targets: list[str]) -> list[tuple[int, str, bytes]]:
        (target,) = targets
        try:
            self.wire.request("GET", target)
            response = self.wire.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError) as error:
            if self.is_used:
                raise NotProcessed(repr(error)) from error
            raise
        self.is_used = True
        body = response.read()
        self.is_over = self.wire.sock is None
        return [(response.status, response.headers.get("X-Version", ""), body)]

    def close(self) -> None:
        self.wire.close()


class Http2:
    """Asks several things at a time."""

    NAME = "HTTP/2"

    def __init__(self, load: Load) -> None:
        context = ssl.create_default_context(cafile=load.certificate)
        try:
            self.wire = http2.Http2(load.address, timeout=PATIENCE, context=context)
        except OSError as error:
            raise NotAccepted(repr(error)) from error
        self.next_stream = 1

    @property
    def is_over(self) -> bool:
        return bool(self.wire.goaways) or self.wire.is_closed

    def ask(self, targets: list[str]) -> list[tuple[int, str, bytes] | None]:
        self._look()
        if self.is_over:
            raise NotProcessed(f"GOAWAY {self.wire.goaways}")
        asked: dict[int, http2.Stream] = {}
        for target in targets:
            fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost")]
            fields.append((b":path", target.encode()))
            self.wire.send(http2.headers(self.next_stream, fields))
            asked[self.next_stream] = self.wire.streams[self.next_stream]
            self.next_stream += 2
        while not all(
            found.is_ended or self._is_refused(number) for number, found in asked.items()
        ):
            if self.wire.frame() is None:
                left = [number for number, found in asked.items() if not found.is_ended]
                raise ConnectionError(f"closed with the streams {left}; GOAWAY {self.wire.goaways}")
        return [
            (found.status, found.field("x-version") or "", found.body) if found.is_ended else None
            for found in asked.values()
        ]

    def _is_refused(self, number: int) -> bool:
        reset = self.wire.streams[number].reset
        if reset not in (None, http2.REFUSED_STREAM):
            raise AssertionError(f"stream {number} was reset with {reset}")
        for last, code, _ in self.wire.goaways:
            if code != http2.NO_ERROR:
                raise AssertionError(f"GOAWAY with {code}")
            if number > last:
                return True
        return reset is not None

    def _look(self) -> None:
        """Reads the frames that have arrived while nothing was asked: GOAWAY perhaps."""
        wire = self.wire
        wire.socket.settimeout(0)
        try:
            while data := wire.socket.recv(65536):
                wire.pending += data
            wire.is_closed = True
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except OSError:
            wire.is_closed = True
        finally:
            wire.socket.settimeout(PATIENCE)
        while len(wire.pending) >= 9 + int.from_bytes(wire.pending[:3], "big"):
            wire.frame()

    def close(self) -> None:
        self.wire.socket.close()


class Client(threading.Thread):
    """One client: a request, or several at a time, then a pause."""

    def __init__(self, load: Load, number: int, kind: type[Http1 | Http2]) -> None:
        super().__init__(daemon=True, name=f"client {number}, {kind.NAME}")
        self.load, self.kind = load, kind
        self.prefix = f"{number}"
        self.count = 0
        self.rng = random.Random(number)
        self.waiting: deque[tuple[str, int]] = deque()
        self.connection: Http1 | Http2 | None = None

    def run(self) -> None:
        width = STREAMS if self.kind is Http2 else 1
        while self.waiting or self.load.goes_on(
            self.load.pause * width * self.rng.uniform(0.5, 1.5)
        ):
            while len(self.waiting) < width:
                self.count += 1
                self.waiting.append((f"{self.prefix}-{self.count}", self.rng.choice(SIZES)))
            try:
                self._ask()
            except NotProcessed:
                self._leave()
                self.load.note_again()
            except NotAccepted as error:
                self._leave()
                if self.load.is_stop_expected:
                    return
                self.load.fault(f"{self.name}, connecting", error)
                self.waiting.clear()
            except Exception as error:
                self._leave()
                self.load.fault(f"{self.name}, {list(self.waiting)}", repr(error))
                self.waiting.clear()
        self._leave()

    def _ask(self) -> None:
        if self.connection is None:
            self.connection = self.kind(self.load)
        asked = list(self.waiting)
        targets = [f"/plain?id={identity}&size={size}" for identity, size in asked]
        for (identity, size), answer in zip(asked, self.connection.ask(targets), strict=True):
            if answer is None:
                self.load.note_again()
                continue
            self.waiting.remove((identity, size))
            status, version, body = answer
            if status != 200 or body != content(identity, size):
                self.load.fault(f"{self.name}, {identity}", f"{status}, {len(body)} bytes")
            self.load.answered(self.kind.NAME, version)
        if self.connection.is_over or self.rng.random() < 1 / REQUESTS_PER_CONNECTION:
            self._leave()

    def _leave(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def bad_reload(site: Site, load: Load) -> None:
    site.deploy("broken", "import no_such_module_at_all")
    drills.unchanged(site, load)
    site.deploy(site.version)


def good_reload(site: Site, load: Load) -> None:
    site.version = "two" if site.version == "one" else "one"
    site.deploy(site.version)
    before = site.all_workers()
    assert site.reload() == "done", site.status()["reload"]
    site.await_gone(before)


DEPLOYS: tuple[drills.Drill, ...] = (good_reload, bad_reload, drills.recycling, drills.upgrade)


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak.secure", description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20, help="of each deploy (default: 20)")
    parser.add_argument("--rate", type=float, default=200, help="requests a second (default: 200)")
    parser.add_argument("--only", help="names of deploys, with commas; stop is one")
    parser.add_argument("--directory", type=Path, help="where logs stay; by default nowhere")
    options = parser.parse_args()
    # So that the servers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="lockgate-soak-") as scratch:
        directory = options.directory or Path(scratch)
        files = pair_of_files(directory)
        only = options.only.split(",") if options.only else None
        for drill in DEPLOYS:
            if only is None or drill.__name__ in only:
                faults += repeat(drill, options.times, directory, files, options.rate)
        if only is None or "stop" in only:
            for number in range(options.times):
                faults += repeat(drills.stop, 1, directory / str(number), files, options.rate)
    print(f"soak: {len(faults)} faults")
    return int(bool(faults))


def repeat(
    drill: Callable[[Site, Load], None],
    times: int,
    directory: Path,
    files: dict[str, str],
    rate: float,
) -> list[str]:
    began = time.monotonic()
    with Site(directory / drill.__name__, preload=False, settings=files) as site:
        with Load(site.server.address, files["certfile"], rate) as load:
            for number in range(times):
                try:
                    drills.await_answers(load)
                    drill(site, load)
                except AssertionError as error:
                    load.fault(f"{drill.__name__} {number + 1}", repr(error))
        print(
            f"soak: {drill.__name__:12} {times:>3} times {time.monotonic() - began:>6.1f} s "
            f"{load.total:>6} requests, {dict(load.kinds)}, {load.again} sent again, "
            f"{len(load.faults)} faults",
            flush=True,
        )
        for fault in load.faults:
            print(f"soak: FAULT {drill.__name__}: {fault}", flush=True)
    return load.faults


if __name__ == "__main__":
    sys.exit(main())
