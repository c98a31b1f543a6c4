"""A TCP link to a server on a loopback port, whose answers can be slow."""

from __future__ import annotations

import contextlib
import socket
import threading


class SlowLink:
    """Passes bytes; while it is slow, each byte of the answers comes `delay` seconds later."""

    def __init__(self, port: int, delay: float) -> None:
        self.is_slow = False
        self._target = port
        self._delay = delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for pair in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while received := source.recv(65536):
                for index in range(len(received)):
                    if not (is_answer and self.is_slow):
                        target.sendall(received[index:])
                        break
                    # This is the fault that is tested, not a wait.
                    threading.Event().wait(self._delay)
                    target.sendall(received[index : index + 1])
            target.shutdown(socket.SHUT_WR)
