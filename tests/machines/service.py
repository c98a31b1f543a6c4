"""A stand-in for a Service of Kubernetes: connections go to endpoints that change late.

Like kube-proxy it chooses an endpoint for each connection: what cannot be connected is reset, and
nothing is tried again.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from typing import Any

Address = tuple[str, int]


class Service:
    """Listens on a free port of 127.0.0.1 until `close`. Endpoints go `lag` seconds late."""

    def __init__(self, lag: float) -> None:
        self.lag = lag
        self.endpoints: list[Address] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.address: Address = self._server.sockets[0].getsockname()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def add(self, endpoint: Address) -> None:
        self.endpoints.append(endpoint)

    def remove(self, endpoint: Address) -> None:
        """Begins to remove it; connections still go there for a while."""
        self._loop.call_soon_threadsafe(
            self._loop.call_later, self.lag, self.endpoints.remove, endpoint
        )

    async def _serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        try:
            server, request = await asyncio.open_connection(*random.choice(self.endpoints))
        except (OSError, IndexError):
            answer.transport.abort()
            return
        await asyncio.gather(_copy(client, request), _copy(server, answer))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(65536):
            target.write(piece)
            await target.drain()
    except ConnectionError:
        target.transport.abort()
    else:
        target.close()
