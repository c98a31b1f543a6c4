"""The clients: threads that send a mix of requests and judge every answer.

A fault is a wrong byte, status or frame, and a connection that ends where it may not.
No fault is a kept connection that closes before the first byte of the next answer: every client of
HTTP has to expect that (RFC 9112 §9.3.1). The request goes out again on a new connection and counts
under `reconnected`. Nor is a fault what a process had in hand that the soak itself killed.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

from harness import Malformed, Truncated, Wire, reset

from soak.requests import Exchange, Maker, choose

# What a client knows of a request: that it was answered, or nothing.
ANSWERED, UNSURE = 1, 2
# For one answer: more than any of them takes on a busy machine.
PATIENCE = 60.0
MOST_FAULTS = 20


class Lost(Exception):
    """The connection ended: before the first byte of the next answer, or within an answer."""

    def __init__(self, is_within: bool, why: Exception) -> None:
        super().__init__(f"{'cut within an answer' if is_within else 'closed'}: {why!r}")
        self.is_within = is_within


class Connection:
    """A wire, with what its client knows of the process behind it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.opened_at = time.monotonic()
        self.wire = Wire(address, timeout=PATIENCE)
        self.pid: int | None = None
        self.is_used = False
        self.is_open = True

    def close(self) -> None:
        self.wire.close()
        self.is_open = False


class Load:
    """`clients` threads until the context ends."""

    def __init__(self, address: tuple[str, int], seed: str, clients: int = 8) -> None:
        self.address, self.seed = address, seed
        self.kinds: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.reconnected = 0
        self.lost_to_kills = 0
        self.faults: list[str] = []
        self._killed: dict[int, float] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._ends_with_server = threading.Event()
        self.clients = [Client(self, number) for number in range(clients)]

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
            return Counter(
                requests=self.total, reconnected=self.reconnected, lost=self.lost_to_kills
            )

    def join(self) -> None:
        for client in self.clients:
            client.join(2 * PATIENCE)
            if client.is_alive():
                self.fault(client.name, "hangs")

    def note_kill(self, pid: int) -> None:
        """Comes before the kill: what this process has in hand is lost."""
        self._killed[pid] = time.monotonic()

    def expect_stop(self) -> None:
        """From now on a client ends when its connection is not accepted."""
        self._ends_with_server.set()

    def goes_on(self, seconds: float) -> bool:
        """Waits; False when the clients are to end."""
        return not self._stopped.wait(seconds)

    def may_lose(self, connection: Connection, lost: Lost) -> bool:
        """Whether the soak itself has taken this connection's process away."""
        if self._ends_with_server.is_set() and not lost.is_within:
            return True
        if connection.pid is not None:
            return connection.pid in self._killed
        return any(connection.opened_at <= at + 1 for at in self._killed.values())

    @property
    def is_stop_expected(self) -> bool:
        return self._ends_with_server.is_set()

    def count(self, exchange: Exchange, version: str | None = None) -> None:
        with self._lock:
            self.kinds[exchange.kind] += 1
            if version:
                self.versions[version] += 1

    def count_lost(self, to_a_kill: bool) -> None:
        with self._lock:
            self.lost_to_kills += to_a_kill
            self.reconnected += not to_a_kill

    def fault(self, what: str, why: object) -> None:
        with self._lock:
            if len(self.faults) < MOST_FAULTS:
                self.faults.append(f"{what}: {why}")


class Client(threading.Thread):
    """One client after another: keeps a connection for some requests, then takes a new one."""

    def __init__(self, load: Load, number: int) -> None:
        super().__init__(daemon=True, name=f"client {number}")
        self.load = load
        self.prefix = f"{load.seed}-{number}"
        self.rng = random.Random(self.prefix)
        # What is known of each request, by its number.
        self.known = bytearray()

    def run(self) -> None:
        connection: Connection | None = None
        while self.load.goes_on(self.rng.random() * 0.02):
            makers, closes = choose(self.rng), self.rng.random() < 0.1
            try:
                connection = self._answered(connection, makers)
            except ConnectionError as error:
                connection = None
                # A listener that closes refuses connections, and resets those in its queue.
                if not self.load.is_stop_expected:
                    self.load.fault(f"{self.name}, connecting", repr(error))
                    continue
                return
            except Exception as error:
                # A client that ends would leave the rest of its requests unasked.
                connection = None
                self.load.fault(f"{self.name}, which has failed", repr(error))
            if closes and connection:
                connection.close()
                connection = None
        if connection:
            connection.close()

    def _answered(self, connection: Connection | None, makers: list[Maker]) -> Connection | None:
        """Sends requests until all are answered; gives the connection if it is still open."""
        while makers:
            if connection is None:
                connection = Connection(self.load.address)
            exchanges = [maker(self.rng, self._next_identity()) for maker in makers]
            done = 0
            try:
                for exchange in exchanges:
                    self._send(connection, exchange)
                for exchange in exchanges:
                    self._receive(connection, exchange)
                    done += 1
                    if not connection.is_open:
                        break
            except Lost as lost:
                connection.close()
                if self.load.may_lose(connection, lost):
                    self.load.count_lost(to_a_kill=True)
                    return None
                if lost.is_within or not connection.is_used:
                    self.load.fault(describe(exchanges[done]), lost)
                    return None
                self.load.count_lost(to_a_kill=False)
            except (Malformed, TimeoutError) as error:
                connection.close()
                self.load.fault(describe(exchanges[done]), repr(error))
                return None
            makers = makers[done:]
            if not connection.is_open:
                connection = None
        return connection

    def _next_identity(self) -> str:
        self.known.append(UNSURE)
        return f"{self.prefix}-{len(self.known) - 1}"

    def _send(self, connection: Connection, exchange: Exchange) -> None:
        wire = connection.wire
        try:
            for piece in exchange.pieces:
                if exchange.expects_continue and piece is exchange.pieces[-1]:
                    interim = wire.response()
                    if interim.status != 100:
                        raise Malformed(f"{interim.status} instead of 100")
                # What was refused is answered although it was not taken.
                if not wire.send_while_open(piece):
                    return
        except (Truncated, ConnectionError) as error:
            raise Lost(False, error) from error

    def _receive(self, connection: Connection, exchange: Exchange) -> None:
        wire = connection.wire
        if exchange.is_left and not exchange.reads:
            return self._leave(connection, exchange)
        is_within = False
        try:
            is_within = wire.has_begun()
            response = wire.head(exchange.method)
            if pid := response.header("X-Pid"):
                connection.pid = int(pid)
            if exchange.is_left:
                response.body = wire.part(exchange.reads)
            elif exchange.is_cut and response.status == 200:
                response.body = read_until_cut(wire)
            else:
                wire.body_of(response)
        except (Truncated, ConnectionError) as error:
            raise Lost(is_within, error) from error
        if problem := exchange.problem(response):
            self.load.fault(describe(exchange), problem)
        if exchange.is_left:
            return self._leave(connection, exchange)
        self.known[exchange.number] = ANSWERED
        self.load.count(exchange, response.header("X-Version"))
        connection.is_used = True
        if exchange.is_cut or response.wants_close():
            connection.close()

    def _leave(self, connection: Connection, exchange: Exchange) -> None:
        if exchange.then == "reset":
            reset(connection.wire)
        connection.close()
        self.load.count(exchange)


def read_until_cut(wire: Wire) -> bytes:
    """The chunks of a response that the application gave up."""
    body = b""
    try:
        while piece := wire.chunk():
            body += piece
    except (Truncated, ConnectionError):
        return body
    raise Malformed("a response that was given up looks complete")


def describe(exchange: Exchange) -> str:
    return f"{exchange.kind} {exchange.identity}"
