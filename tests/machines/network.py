"""A switch with a balancer, three hosts and a client, as network namespaces of Linux. Needs root.

The addresses are those of the recipes in contrib/, which so run unchanged.
"""

from __future__ import annotations

import os
import shutil
import subprocess

BALANCER = "10.0.0.1"
HOSTS = ("10.0.0.11", "10.0.0.12", "10.0.0.13")
CLIENT = "10.0.0.100"


def why_not() -> str | None:
    """The reason why this machine cannot have namespaces, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "the program ip is not installed (Debian package iproute2)"
    probe = f"lg{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"network namespaces cannot be made: {made.stderr.strip()}"
    ip("netns", "delete", probe)
    return None


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Network:
    """The namespaces. `inside` gives the command that runs another one in one of them."""

    def __init__(self) -> None:
        self._made: list[str] = []
        try:
            self._build()
        except OSError:
            self.remove()
            raise

    def _build(self) -> None:
        switch = self._namespace(BALANCER)
        ip("-n", switch, "link", "add", "br0", "type", "bridge")
        ip("-n", switch, "address", "add", f"{BALANCER}/24", "dev", "br0")
        ip("-n", switch, "link", "set", "br0", "up")
        for number, address in enumerate((*HOSTS, CLIENT)):
            name = self._namespace(address)
            port = f"port{number}"
            ip("-n", switch, "link", "add", port, "type", "veth", "peer", "eth0", "netns", name)
            ip("-n", switch, "link", "set", port, "master", "br0", "up")
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")

    def _namespace(self, address: str) -> str:
        name = self.name(address)
        ip("netns", "add", name)
        self._made.append(name)
        ip("-n", name, "link", "set", "lo", "up")
        return name

    @staticmethod
    def name(address: str) -> str:
        return f"lg{os.getpid()}-{address.rpartition('.')[2]}"

    def inside(self, address: str) -> list[str]:
        return ["ip", "netns", "exec", self.name(address)]

    def unplug(self, address: str) -> None:
        """The cable is pulled: nothing arrives in either direction."""
        ip("-n", self.name(address), "link", "set", "eth0", "down")

    def plug_in(self, address: str) -> None:
        ip("-n", self.name(address), "link", "set", "eth0", "up")

    def silence(self, address: str) -> None:
        """Packets still reach the host, and every answer is lost without a trace."""
        ip("-n", self.name(address), "route", "add", "blackhole", f"{BALANCER}/32")

    def unsilence(self, address: str) -> None:
        ip("-n", self.name(address), "route", "delete", "blackhole", f"{BALANCER}/32")

    def remove(self) -> None:
        while self._made:
            ip("netns", "delete", self._made.pop())
