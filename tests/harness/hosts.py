"""Requests to one server by several host names."""

from __future__ import annotations

from harness.process import Server
from harness.wire import Response


def get_of(server: Server, host: str, target: str, *headers: str) -> Response:
    """GET with this Host."""
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *headers, "Connection: close", "", ""]
    return server.exchange("\r\n".join(lines).encode())
