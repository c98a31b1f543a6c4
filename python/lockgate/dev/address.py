"""Addresses of `lockgate dev`: its sockets are opened here, before the server starts.

So the line with the URL is true when it is printed, port 0 has its number by then, and a port that
is in use is reported with the process that has it.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
BACKLOG = 2048
#: How many ports above one in use are tried for the proposal.
PROPOSALS = 100


class CannotListen(Exception):
    """Why the server cannot listen, and what to do."""


@dataclass(frozen=True)
class Listening:
    #: Values for the setting `bind`.
    bind: list[str]
    #: TCP addresses as `(host, port)`.
    places: list[tuple[str, int]]
    sockets: list[socket.socket]

    def leave_open(self) -> None:
        """Leaves the sockets to the server, which has them by their numbers."""
        for one in self.sockets:
            one.detach()

    def urls(self, scheme: str) -> list[str]:
        """The URLs to open in a browser on this machine; others as they are written."""
        urls = [url(scheme, host, port) for host, port in self.places]
        return [*dict.fromkeys(urls), *(one for one in self.bind if not one.startswith("fd://"))]


def wanted(
    bind: list[str], host: str | None, port: int | None, environment: Mapping[str, str]
) -> list[str]:
    """The addresses to listen at: flags, then the variables of `flask run`, then PORT."""
    if bind:
        return bind
    if host is None:
        host = environment.get("FLASK_RUN_HOST") or DEFAULT_HOST
    if port is None:
        named = environment.get("FLASK_RUN_PORT") or environment.get("PORT") or ""
        port = int(named) if named.isdigit() and int(named) < 65536 else DEFAULT_PORT
    host = f"[{host.strip('[]')}]" if ":" in host else host
    return [f"{host}:{port}"]


def listen(addresses: list[str]) -> Listening:
    """Opens the TCP addresses; others stay for the server. Raises CannotListen."""
    bind: list[str] = []
    places: list[tuple[str, int]] = []
    sockets: list[socket.socket] = []
    for address in addresses:
        place = tcp_place(address)
        if place is None:
            bind.append(address)
            continue
        for one in open_sockets(*place):
            sockets.append(one)
            bind.append(f"fd://{one.fileno()}")
            places.append(one.getsockname()[:2])
    return Listening(bind, places, sockets)


def tcp_place(address: str) -> tuple[str, int] | None:
    """Host and port of a TCP address; None: it is of another kind."""
    text = re.sub(r"^(tcp|https?)://", "", address).rstrip("/")
    if text.startswith(("unix:", "unix-abstract:", "fd:", "systemd", "uwsgi:")):
        return None
    match = re.fullmatch(r"(?:\[([^]]*)\]|([^:]*))(?::(\d+))?", text)
    if match is None or int(match[3] or 0) > 65535:
        raise CannotListen(
            f"{address!r} is not an address: write HOST:PORT, such as 127.0.0.1:8000, "
            "[::1]:8000 for IPv6, or unix:PATH"
        )
    host = match[1] or match[2] or ("0.0.0.0" if match[3] else DEFAULT_HOST)
    return host, int(match[3] or DEFAULT_PORT)


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for each address of the name: `localhost` often has two."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotListen(f"{host}: no such name or address: {error.strerror or error}") from None
    opened: list[socket.socket] = []
    for family, _, _, _, place in found:
        if opened:
            # With port 0 all get the number of the first.
            place = (place[0], opened[0].getsockname()[1], *place[2:])
        one = socket.socket(family, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            one.bind(place)
            one.listen(BACKLOG)
        except OSError as error:
            one.close()
            if error.errno == errno.EADDRNOTAVAIL and opened:
                continue  # a host without IPv6 still has ::1 in /etc/hosts
            for other in opened:
                other.close()
            raise CannotListen(reason(str(place[0]), int(place[1]), error)) from None
        opened.append(one)
    return opened


def reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EACCES:
        return (
            f"port {port} of {host} needs privileges: ports below 1024 are for root\n"
            f"  hint: choose another port: lockgate dev --port {DEFAULT_PORT}"
        )
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen at {host}, port {port}: {error.strerror}"
    lines = [f"port {port} of {host} is in use"]
    holders = list(processes_at(port))
    for pid, command in holders:
        lines.append(f"  by process {pid}: {command}")
    if not holders:
        lines.append("  by a process of another user, or of another container")
    free = free_port(host, port)
    if holders:
        lines.append(f"  hint: end it with `kill {holders[0][0]}`")
    if free is not None:
        lines.append(f"  hint: or choose another port: lockgate dev --port {free}")
    return "\n".join(lines)


def free_port(host: str, port: int) -> int | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port + 1, min(port + PROPOSALS, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, candidate))
            except OSError:
                continue
            return candidate
    return None


def processes_at(port: int) -> Iterator[tuple[int, str]]:
    """The processes that listen at a TCP port, as far as this user may see them (Linux): one for
    each program, its oldest."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in text_of(table).splitlines()[1:]:
            fields = line.split()
            if (
                len(fields) > 9
                and fields[3] == "0A"
                and int(fields[1].rpartition(":")[2], 16) == port
            ):
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return
    found: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and inodes & set(descriptors(entry)):
            found[int(entry)] = parent_of(entry)
    for pid, parent in sorted(found.items()):
        if parent not in found and pid != os.getpid():
            words = text_of(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
            yield pid, words or text_of(f"/proc/{pid}/comm").strip()


def descriptors(pid: str) -> Iterator[str]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue


def parent_of(pid: str) -> int:
    fields = text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def text_of(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""


def url(scheme: str, host: str, port: int) -> str:
    """A URL that a browser on this machine opens."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    if scheme == "https" and host in ("127.0.0.1", "[::1]"):
        host = "localhost"  # the name of the certificate
    return f"{scheme}://{host}:{port}"
