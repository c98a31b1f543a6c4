"""The socket of an upgrade request: ``gunicorn.socket`` and ``werkzeug.socket`` in environ.

It is the application's end of a socket pair. The event loop passes bytes between the other end and
the client, over TLS too. The connection leaves HTTP when the application uses the socket first.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

__all__ = ["UpgradedSocket"]

Address = tuple[str, int] | None


class UpgradedSocket(socket.socket):
    """A connected stream socket, with the addresses of the client's connection."""

    __slots__ = ("_client", "_server", "_take_over")

    def __init__(self, take_over: Callable[[], int], client: Address, server: Address) -> None:
        # Without a descriptor: socket.socket.__init__ follows at the first use.
        self._io_refs = 0
        self._closed = False
        self._take_over: Callable[[], int] | None = take_over
        self._client = client
        self._server = server

    def _begin(self) -> None:
        """Takes the connection over, unless that is done.

        Raises:
            ConnectionError: a response has begun, or the request is over.
        """
        take_over = self._take_over
        if take_over is None:
            if super().fileno() < 0 and not self._closed:
                raise ConnectionError("the request of this socket is over")
            return
        self._take_over = None
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM, fileno=take_over())

    def _end_of_request(self) -> None:
        """Ends both directions: what was written is still sent to the client."""
        self._take_over = None
        if super().fileno() >= 0:
            try:
                super().shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # The application has closed one of them, or the client has gone.
            super().close()

    def __repr__(self) -> str:
        state = (
            "offered" if self._take_over else "taken over" if super().fileno() >= 0 else "closed"
        )
        return f"<UpgradedSocket {state}, client={self._client}>"

    def getpeername(self) -> Any:
        return self._client or ""

    def getsockname(self) -> Any:
        return self._server or ""

    def setsockopt(self, level: int, option: int, *value: Any) -> None:
        """Sets an option of the pair. Those of TCP are the server's, which sends without delay."""
        self._begin()
        if level != socket.IPPROTO_TCP:
            super().setsockopt(level, option, *value)

    def getsockopt(self, level: int, option: int, *length: Any) -> Any:
        self._begin()
        if level == socket.IPPROTO_TCP:
            return int(option == socket.TCP_NODELAY)
        return super().getsockopt(level, option, *length)

    def close(self) -> None:
        """Closes the connection; before the first use, only this object."""
        self._take_over = None
        super().close()


def _taking_over(name: str) -> Callable[..., Any]:
    plain = getattr(socket.socket, name)

    def method(self: UpgradedSocket, *args: Any, **kwargs: Any) -> Any:
        self._begin()
        return plain(self, *args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"UpgradedSocket.{name}"
    method.__doc__ = plain.__doc__
    return method


for _name in (
    "detach",
    "dup",
    "fileno",
    "getblocking",
    "gettimeout",
    "makefile",
    "recv",
    "recv_into",
    "recvfrom",
    "recvfrom_into",
    "recvmsg",
    "recvmsg_into",
    "send",
    "sendall",
    "sendfile",
    "sendmsg",
    "setblocking",
    "settimeout",
    "shutdown",
):
    setattr(UpgradedSocket, _name, _taking_over(_name))
