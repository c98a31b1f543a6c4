"""The server under load: its directory, versions and settings, and the requests of its operator."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import Server, Wire, descriptors, eventually, request
from harness.process import children, is_alive, resident_bytes

APPLICATION = Path(__file__).with_name("application.py")
WORKERS = 2
# How long a busy machine may take for what an operator asked.
PATIENCE = 60.0


class Site:
    """One server with its application in a directory of its own; a context that ends it."""

    def __init__(
        self,
        directory: Path,
        *,
        preload: bool,
        sabotage: str = "",
        settings: dict[str, Any] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # Of every configuration.
        self.settings = settings or {}
        self.directory, self.preload = directory, preload
        self.access_log = directory / "access.log"
        self.version = "one"
        self.deploy("one")
        self.configure()
        self.server = Server(
            directory,
            "soak_app:app",
            workers=None,
            chdir=directory,
            environment={"SOAK_SABOTAGE": sabotage} if sabotage else {},
        )

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.end()

    def deploy(self, version: str, preamble: str = "", health: str = "200 OK") -> None:
        """In place at once, as a deploy should be."""
        text = APPLICATION.read_text("utf-8")
        text = text.replace('VERSION = "one"', f"VERSION = {version!r}")
        text = text.replace("# PREAMBLE", preamble)
        text = text.replace('HEALTH = "200 OK"', f"HEALTH = {health!r}")
        draft = self.directory / "soak_app.py.new"
        draft.write_text(text, "utf-8")
        draft.rename(self.directory / "soak_app.py")

    def configure(self, **settings: Any) -> None:
        values: dict[str, Any] = {
            "workers": WORKERS,
            "threads": 4,
            "preload": self.preload,
            "admin_bind": f"unix:{self.directory}/admin.sock",
            "access_logfile": str(self.access_log),
            "access_logformat": "json",
            "warmup": ["/health"],
            **self.settings,
            **settings,
        }
        # JSON's strings, numbers, booleans and lists are TOML's.
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        draft = self.directory / "lockgate.toml.new"
        draft.write_text("\n".join(lines) + "\n", "utf-8")
        draft.rename(self.directory / "lockgate.toml")

    def ask(self, target: str) -> Any:
        with Wire(f"{self.directory}/admin.sock") as wire:
            wire.send(request("GET", target, "Connection: close", host="localhost"))
            response = wire.response()
        assert response.status == 200, response
        return json.loads(response.body)

    def status(self) -> Any:
        def answered() -> Any:
            try:
                return self.ask("/status")
            except (OSError, AssertionError):
                # The process that answers is being replaced.
                return None

        return eventually(answered, within=PATIENCE, what="the admin listener answers")

    def all_workers(self) -> list[int]:
        return [worker["pid"] for worker in self.status()["workers"]]

    def workers(self) -> list[int]:
        return sorted(w["pid"] for w in self.status()["workers"] if w["state"] == "serving")

    def helpers(self) -> list[int]:
        """Children of the supervisor that serve no request."""
        return sorted(set(children(self.server.pid)) - set(self.all_workers()))

    def signal(self, number: int) -> None:
        self.server.signal(number)

    def await_reload(self, ended: int) -> str:
        """How the reload ended that was the `ended`th."""
        eventually(
            lambda: self.status()["reload"]["ended"] >= ended, within=PATIENCE, what="the reload"
        )
        return self.status()["reload"]["state"]

    def reload(self) -> str:
        """HUP, and how it ended: done or failed."""
        ended = self.status()["reload"]["ended"] + 1
        self.signal(signal.SIGHUP)
        return self.await_reload(ended)

    def await_gone(self, pids: list[int]) -> None:
        eventually(lambda: not any(map(is_alive, pids)), within=PATIENCE, what=f"{pids} are gone")

    def await_workers(self, count: int) -> list[int]:
        return eventually(
            lambda: len(self.workers()) == count and self.workers(),
            within=PATIENCE,
            what=f"{count} workers serve",
        )

    def log_lines(self) -> Iterator[dict[str, Any]]:
        """Every line of the access log and of what it was renamed to."""
        for path in sorted(self.directory.glob("access.log*")):
            with path.open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)


def holdings(pid: int) -> tuple[int, int] | None:
    """Bytes of memory and descriptors, of a process that may have left."""
    try:
        return resident_bytes(pid), descriptors(pid)
    except (OSError, AssertionError):
        return None


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
