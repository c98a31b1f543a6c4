"""Three hosts with Lockgate, the balancer of a recipe before them, and customers who count."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness import Server, eventually
from harness.fronts import CONTRIB, HAPROXY, NGINX
from harness.process import processes_of_session

from machines.customers import Outcome, visiting
from machines.network import BALANCER, CLIENT, HOSTS, Network

FLAGS = {
    "haproxy/cluster.cfg": ("--proxy-protocol", "v2", "--proxy-allow-from", BALANCER),
    "nginx/cluster.conf": ("--forwarded-allow-ips", BALANCER),
}
#: What every host has besides, by setting.
SETTINGS = {"readiness-path": "/readyz", "drain-delay": "5s", "threads": "8"}
#: nginx does not ask whether a host is ready, so a delay changes nothing for it.
SETTINGS_OF = {"haproxy/cluster.cfg": SETTINGS, "nginx/cluster.conf": {"threads": "8"}}


class Host:
    """One machine with one Lockgate."""

    def __init__(self, directory: Path, network: Network, address: str, flags: list[str]) -> None:
        self.directory, self.network, self.address = directory, network, address
        self.flags = flags
        directory.mkdir()
        self.orders = directory / "orders"
        self.slow = directory / "slow"
        self.orders.touch()
        self.server = self._started()

    def _started(self) -> Server:
        return Server(
            self.directory,
            "ordering:app",
            *self.flags,
            bind=[f"{self.address}:8000"],
            prefix=self.network.inside(self.address),
            environment={
                "ORDERS": str(self.orders),
                "ORDERS_SLOW": str(self.slow),
                "ORDERS_HOST": self.address,
            },
        )

    def start(self) -> None:
        self.server.end()
        self.server = self._started()

    def executed(self) -> list[str]:
        return self.orders.read_text().split()

    def serves_again(self) -> None:
        """Waits until customers reach this host."""
        enough = len(self.executed()) + 3
        eventually(
            lambda: len(self.executed()) >= enough,
            within=60,
            what=f"orders at {self.address}\n{self.server.errors}",
        )

    def signal_all(self, number: int) -> None:
        for pid in processes_of_session(self.server.pid):
            os.kill(pid, number)

    def end(self) -> None:
        self.signal_all(signal.SIGCONT)
        self.server.end()


class Site:
    """Hosts and balancer.

    `changes` are replacements in the recipe; `settings` replace those of the hosts (SETTINGS_OF).
    """

    def __init__(
        self,
        directory: Path,
        recipe: str,
        changes: Mapping[str, str] | None = None,
        settings: Mapping[str, str | None] | None = None,
    ) -> None:
        self.hosts: list[Host] = []
        self.balancer: subprocess.Popen[bytes] | None = None
        self.directory = directory
        flags = list(FLAGS[recipe])
        for name, value in {**SETTINGS_OF[recipe], **(settings or {})}.items():
            if value is not None:
                flags += [f"--{name}", value]
        self.network = Network()
        try:
            for address in HOSTS:
                self.hosts.append(Host(directory / address, self.network, address, flags))
            self._balance(recipe, changes or {})
        except BaseException:
            self.end()
            raise

    def _balance(self, recipe: str, changes: Mapping[str, str]) -> None:
        text = (CONTRIB / recipe).read_text()
        for old, new in changes.items():
            assert old in text, f"{recipe} has no {old!r}"
            text = text.replace(old, new)
        command = _COMMANDS[recipe.partition("/")[0]](self.directory, text)
        log = (self.directory / "balancer.log").open("wb")
        with log:
            self.balancer = subprocess.Popen(
                [*self.network.inside(BALANCER), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._listens, within=20, what="the balancer listens")

    def _listens(self) -> bool:
        assert self.balancer is not None and self.balancer.poll() is None, self.log()
        connect = f"import socket; socket.create_connection(({BALANCER!r}, 80), 2)"
        tried = subprocess.run(
            [*self.network.inside(CLIENT), sys.executable, "-c", connect], stderr=subprocess.DEVNULL
        )
        return tried.returncode == 0

    def log(self) -> str:
        """What the balancer has written."""
        return (self.directory / "balancer.log").read_text("utf-8", "backslashreplace")

    @contextmanager
    def customers(self) -> Iterator[Outcome]:
        """Customers who stay for the block; the outcome is complete after it."""
        earlier = Counter(self._executed())
        with visiting((BALANCER, 80), self.network.inside(CLIENT)) as outcome:
            yield outcome
        # An order that the customer has given up may still be in a queue of its host.
        eventually(self._is_idle, within=30, what="the hosts are idle")
        outcome.executed = Counter(self._executed())
        outcome.executed.subtract(earlier)

    def _executed(self) -> list[str]:
        return [order for host in self.hosts for order in host.executed()]

    def _is_idle(self) -> bool:
        before = self._executed()
        time.sleep(1)
        return before == self._executed()

    def all_serve(self) -> None:
        """Waits until the balancer uses every host."""
        for host in self.hosts:
            host.serves_again()

    def end(self) -> None:
        if self.balancer is not None:
            self.balancer.kill()
            self.balancer.wait()
        for host in self.hosts:
            host.end()
        self.network.remove()


def _haproxy(directory: Path, text: str) -> list[str]:
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    path = directory / "haproxy.cfg"
    path.write_text(HAPROXY.format(user="user www-data") + text)
    return [program, "-db", "-f", str(path)]


def _nginx(directory: Path, text: str) -> list[str]:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    (directory / "site.conf").write_text(text)
    main = NGINX.format(
        directory=directory,
        user="user root;",
        temporary="\n".join(f"{name}_temp_path {directory}/{name};" for name in folders),
    )
    (directory / "nginx.conf").write_text(main)
    return [program, "-p", str(directory), "-c", "nginx.conf", "-e", "error.log"]


_COMMANDS = {"haproxy": _haproxy, "nginx": _nginx}
