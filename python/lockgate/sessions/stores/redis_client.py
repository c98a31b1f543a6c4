"""A client of Redis with a deadline for each call as a whole: connecting, TLS, AUTH and the answer.

The timeouts of redis-py are for each read and write: a server that is slow, or that needs several
round trips for a new connection, keeps a request waiting for a multiple of them.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from urllib.parse import parse_qs, unquote, urlsplit

# Idle connections that a process keeps.
IDLE_CONNECTIONS = 64
# No session is larger.
LONGEST_ANSWER = 64 * 1024 * 1024


class RedisError(Exception):
    """Redis has answered with an error, or with what is not its protocol."""


class RedisClient:
    """Sends one command at a time over each of its connections. For several threads, and for
    processes that are forked later."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        database = options.get("db", ["0"])[-1] if parts.scheme == "redis+unix" else ""
        database = database or parts.path.strip("/") or "0"
        if not database.isdigit():
            raise ValueError(f"the database of Redis is a number, not {database!r}")
        self._database = database
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._path = unquote(parts.path) if parts.scheme == "redis+unix" else None
        self._host = parts.hostname or "localhost"
        self._port = parts.port or 6379
        self._tls = ssl.create_default_context() if parts.scheme == "rediss" else None
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._idle: deque[_Connection] = deque()
        # Without the password.
        self.address = self._path or f"{parts.scheme}://{self._host}:{self._port}/{database}"

    def call(self, words: Sequence[str], timeout: float) -> object:
        """The answer to a command. OSError (TimeoutError) or RedisError."""
        deadline = time.monotonic() + timeout
        connection = self._take() or self._connect(deadline)
        return self._call(connection, words, deadline)

    def _call(self, connection: _Connection, words: Sequence[str], deadline: float) -> object:
        try:
            answer = connection.call(words, deadline)
        finally:
            if connection.is_in_order:
                self._give_back(connection)
            else:
                # The answer may come later, and must not become that of another command.
                connection.close()
        return answer

    def _connect(self, deadline: float) -> _Connection:
        stream = self._connected(deadline)
        try:
            if self._tls is not None:
                stream.settimeout(_remaining(deadline))
                stream = self._tls.wrap_socket(stream, server_hostname=self._host)
            connection = _Connection(stream)
            if self._password:
                credentials = [self._user, self._password] if self._user else [self._password]
                connection.call(["AUTH", *credentials], deadline)
            if self._database != "0":
                connection.call(["SELECT", self._database], deadline)
        except BaseException:
            stream.close()
            raise
        return connection

    def _connected(self, deadline: float) -> socket.socket:
        candidates: list[tuple[int, object]] = [(socket.AF_UNIX, self._path)]
        if self._path is None:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            candidates = [(family, address) for family, _, _, _, address in found]
        failure: OSError = ConnectionError("the host has no address")
        for family, address in candidates:
            stream = socket.socket(family, socket.SOCK_STREAM)
            try:
                stream.settimeout(_remaining(deadline))
                stream.connect(address)  # type: ignore[arg-type]
                if family != socket.AF_UNIX:
                    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return stream
            except OSError as error:
                stream.close()
                failure = error
        raise failure

    def _take(self) -> _Connection | None:
        with self._lock:
            if self._process != os.getpid():
                # Those of the process before the fork.
                self._process = os.getpid()
                self._idle.clear()
            while self._idle:
                connection = self._idle.pop()
                if connection.is_silent():
                    return connection
                connection.close()
        return None

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if self._process == os.getpid() and len(self._idle) < IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


class _Connection:
    """A connection that speaks RESP2."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._received = bytearray()
        # Whether the last answer was read to its end.
        self.is_in_order = True

    def close(self) -> None:
        self._stream.close()

    def is_silent(self) -> bool:
        """False if Redis has closed it, for example because it was restarted."""
        poll = select.poll()
        poll.register(self._stream, select.POLLIN)
        return not self._received and not poll.poll(0)

    def call(self, words: Sequence[str], deadline: float) -> object:
        self.is_in_order = False
        encoded = [word.encode() for word in words]
        parts = [b"*%d\r\n" % len(encoded)]
        parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
        self._stream.settimeout(_remaining(deadline))
        # The timeout of `sendall` is for all of it.
        self._stream.sendall(b"".join(parts))
        answer = self._answer(deadline)
        self.is_in_order = True
        if isinstance(answer, RedisError):
            raise answer
        return answer

    def _answer(self, deadline: float) -> object:
        line = self._line(deadline)
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            return RedisError(rest.decode(errors="replace"))
        if kind == b":":
            return _number(rest)
        if kind == b"$":
            length = _number(rest)
            return None if length < 0 else self._exactly(length + 2, deadline)[:-2]
        if kind == b"*":
            return [self._answer(deadline) for _ in range(_number(rest))]
        raise RedisError("this is not the protocol of Redis")

    def _line(self, deadline: float) -> bytes:
        while (end := self._received.find(b"\r\n")) < 0:
            self._receive(deadline)
        return self._exactly(end + 2, deadline)[:-2]

    def _exactly(self, length: int, deadline: float) -> bytes:
        if length > LONGEST_ANSWER:
            raise RedisError(f"an answer of {length:,} bytes")
        while len(self._received) < length:
            self._receive(deadline)
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken

    def _receive(self, deadline: float) -> None:
        self._stream.settimeout(_remaining(deadline))
        received = self._stream.recv(65536)
        if not received:
            raise ConnectionResetError("the connection was closed")
        self._received += received


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("timed out")
    return remaining


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise RedisError("this is not the protocol of Redis") from None
