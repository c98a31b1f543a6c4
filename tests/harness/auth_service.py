"""A service of `forward_auth`: it knows users by a cookie, and records what it was asked."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class AuthService:
    """Lets users in whose cookie is `user=NAME`, as `Remote-User` and `Remote-Groups`."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, str]]] = []
        self.connections = 0
        self.open: list[socket.socket] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                service.connections += 1
                service.open.append(self.request)
                super().setup()

            def do_GET(self) -> None:
                service.asked.append([(":target", self.path), *self.headers.items()])
                user = user_of(self.headers.get_all("Cookie", []))
                if user is None:
                    self.refuse()
                    return
                self.send_response(200)
                self.send_header("Remote-User", user)
                if user == "admin":
                    self.send_header("Remote-Groups", "staff")
                    self.send_header("remote-groups", "root")
                self.send_header("X-Other", "is not copied")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def refuse(self) -> None:
                page = b"<a href=/login>log in</a>"
                self.send_response(401)
                self.send_header("Content-Type", "text/html")
                self.send_header("WWW-Authenticate", 'Bearer realm="login"')
                self.send_header("Set-Cookie", "state=1")
                self.send_header("Set-Cookie", "seen=2")
                self.send_header("Remote-User", "nobody")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/verify"

    def last(self) -> dict[str, str]:
        """What it was asked last; a name that came twice has the values of both."""
        fields: dict[str, str] = {}
        for name, value in self.asked[-1]:
            key = name.lower()
            fields[key] = f"{fields[key]}, {value}" if key in fields else value
        return fields

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def user_of(cookies: list[str]) -> str | None:
    for pair in "; ".join(cookies).split("; "):
        name, _, value = pair.partition("=")
        if name == "user":
            return value
    return None


class RawService:
    """Accepts connections and does with each what `speak` does."""

    def __init__(self, speak: Callable[[socket.socket], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.speak = speak
        self.open: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/verify"

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            self.speak(connection)
        except OSError:
            pass

    def end(self) -> None:
        self.listener.close()
        for connection in self.open:
            connection.close()


def read_head(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    return received


def answering(answer: bytes, *, closes: bool = True) -> Callable[[socket.socket], None]:
    """Answers the first request with these bytes."""

    def speak(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer)
        if closes:
            connection.shutdown(socket.SHUT_RDWR)

    return speak


def basic(user: str, password: str) -> str:
    """The field Authorization of HTTP Basic."""
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Authorization: Basic {encoded}"
