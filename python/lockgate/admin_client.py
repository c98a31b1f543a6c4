"""The client of the admin listener of a running server (setting `admin_bind`)."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
from collections.abc import Sequence
from typing import Any

ANSWER_SECONDS = 5.0


class Unreachable(Exception):
    """No usable answer; the text has the address, the reason and what to do."""


class Gone(Unreachable):
    """No process listens at the address (any more)."""


class Refused(Unreachable):
    """The server refuses the request, or is busy."""


def read_status(address: str) -> Any:
    return read_object(address, "/status")


def read_object(address: str, path: str) -> Any:
    text = ask(address, path)
    try:
        found = json.loads(text)
        if found["name"] == "lockgate":
            return found
    except (ValueError, KeyError, TypeError):
        pass
    raise Unreachable(f"{address} answers, and is not Lockgate's admin listener")


def ask(address: str, path: str) -> bytes:
    status, text = exchange(address, "GET", path)
    if status in (501, 503):
        raise Refused(printable(text.decode(errors="replace").strip()))
    if status != 200:
        raise Unreachable(
            f"{address} answered {status} to {path}: is it the admin_bind of the server?"
        )
    return text


def act(address: str, action: str) -> Any:
    """Requests an action. The server checks the user of this process."""
    status, text = exchange(address, "POST", f"/actions/{action}", {"Lockgate-Action": "ctl"})
    if status == 405:
        raise Unreachable(
            f"the server at {address} does not support actions: send its process a signal instead"
        )
    if status in (400, 403, 404, 503):
        raise Refused(printable(text.decode(errors="replace").strip()))
    try:
        receipt = json.loads(text)
        if status == 202 and receipt["name"] == "lockgate":
            return receipt
    except (ValueError, KeyError, TypeError):
        pass
    raise Unreachable(f"{address} answers, and is not Lockgate's admin listener")


def publish(address: str, item: dict[str, str]) -> None:
    """Publishes one message. The server checks the user of this process."""
    body = json.dumps({"items": [item]}).encode()
    headers = {"Content-Type": "application/json"}
    status, text = exchange(address, "POST", "/publish/", headers, body)
    if status == 405:
        raise Unreachable(f"the server at {address} is a version that does not publish")
    if status in (400, 403, 404, 413, 503):
        raise Refused(printable(text.decode(errors="replace").strip()))
    if status != 200:
        raise Unreachable(
            f"{address} answered {status} to /publish/: is it the admin_bind of the server?"
        )


def purge(address: str, urls: Sequence[str], tags: Sequence[str], everything: bool) -> int:
    """Removes entries from the cache; returns how many. The server checks the user."""
    fields = [*(("url", url) for url in urls), *(("tag", tag) for tag in tags)]
    body = urllib.parse.urlencode([*fields, *([("all", "1")] if everything else [])]).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text = exchange(address, "POST", "/cache/purge", headers, body)
    if status == 405:
        raise Unreachable(f"the server at {address} is a version without a cache")
    if status in (400, 403, 404, 413, 503):
        raise Refused(printable(text.decode(errors="replace").strip()))
    try:
        if status == 200:
            return int(json.loads(text)["purged"])
    except (ValueError, KeyError, TypeError):
        pass
    raise Unreachable(f"{address} answers, and is not Lockgate's admin listener")


def exchange(
    address: str,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = ANSWER_SECONDS,
) -> tuple[int, bytes]:
    connection = Connection(address, timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        gone = isinstance(error, (FileNotFoundError, ConnectionRefusedError))
        kind = Gone if gone else Unreachable
        raise kind(f"no answer at {address}: {error}{advice(error)}") from None
    finally:
        connection.close()


def advice(error: Exception) -> str:
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return "; is the server running, with this address as its admin_bind?"
    if isinstance(error, PermissionError):
        return "; the socket belongs to the server's user and group"
    return ""


class Connection(http.client.HTTPConnection):
    """HTTP to an address in the form of `admin_bind`."""

    def __init__(self, address: str, seconds: float = ANSWER_SECONDS) -> None:
        self.address = address
        self.seconds = seconds
        super().__init__("localhost", timeout=seconds)

    def connect(self) -> None:
        if self.address.startswith("unix:") or self.address.startswith("unix-abstract:"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.seconds)
            self.sock.connect(unix_name(self.address))
        else:
            self.sock = socket.create_connection(tcp_address(self.address), self.seconds)


def unix_name(address: str) -> str:
    if address.startswith("unix://"):
        return address[len("unix://") :]
    for prefix in ("unix:@", "unix-abstract:"):
        if address.startswith(prefix):
            return "\0" + address[len(prefix) :]
    return address[len("unix:") :]


def tcp_address(address: str) -> tuple[str, int]:
    for scheme in ("tcp://", "http://"):
        address = address.removeprefix(scheme)
    host, _, port = address.rstrip("/").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise Unreachable(
            f"{address} is not an address: write unix:/run/lockgate/admin.sock or 127.0.0.1:9000"
        )
    return host.strip("[]"), int(port)


def printable(text: str) -> str:
    """Escapes control characters: clients choose these texts, and a terminal would obey them."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
