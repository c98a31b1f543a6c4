"""A Compose file, service by service, with one network for all of them.

Docker gives each service an address of its own; here each has the loopback address and its name.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from machine import cgroup
from machine.container import Container, Options

from . import bases, build, running
from .bases import Healthcheck, Image
from .dockerfile import Unsupported, seconds

# Keys that need nothing here: what they bound is not bounded, and ports are asked inside.
WITHOUT_EFFECT = {"cap_drop", "cpus", "pids_limit", "ports", "restart", "shm_size"}
KNOWN = WITHOUT_EFFECT | {
    *("build", "command", "depends_on", "environment", "healthcheck", "image", "mem_limit"),
    *("read_only", "secrets", "security_opt", "stop_grace_period", "tmpfs", "volumes"),
}
SIZE = re.compile(r"(\d+)([kmg])")


@dataclass
class Service:
    image: Image
    container: Container
    healthcheck: Healthcheck | None
    grace: float = 10


@dataclass
class Project:
    """`docker compose up` for the services of a file; leaving the block is `down --volumes`."""

    file: Path
    # An empty directory for layers, volumes and logs.
    scratch: Path
    # How images are built; its context and layers are replaced.
    how: build.Build
    services: dict[str, Service] = field(default_factory=dict)
    _images: dict[str, Image] = field(default_factory=dict)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _network: Container | None = None

    def __enter__(self) -> Project:
        self.content = yaml.safe_load(self.file.read_text("utf-8"))
        unknown = {key for entry in self._entries.values() for key in entry} - KNOWN
        if unknown:
            raise Unsupported(f"{self.file.name}: {', '.join(sorted(unknown))}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def _entries(self) -> Mapping[str, Mapping[str, Any]]:
        entries: Mapping[str, Mapping[str, Any]] = self.content["services"]
        return entries

    def up(self, name: str) -> Service:
        """Starts a service after those that it depends on, as their conditions say."""
        if name in self.services:
            return self.services[name]
        entry = self._entries[name]
        for other, how in entry.get("depends_on", {}).items():
            dependency = self.up(other)
            match how["condition"]:
                case "service_healthy":
                    assert dependency.healthcheck is not None, f"{other} has no health check"
                    running.await_health(dependency.container, dependency.healthcheck)
                case "service_completed_successfully":
                    status = dependency.container.wait(60)
                    log = dependency.container.log()
                    assert status == 0, f"{other} ended with {status}: {log}"
        image = self._image(name, entry)
        container = running.container(
            image, self._options(entry), self.scratch / f"{name}.log", entry.get("command", ())
        )
        self._stack.enter_context(container)
        self._network = self._network or container
        service = Service(
            image=image,
            container=container,
            healthcheck=self._healthcheck(entry) or image.healthcheck,
            grace=seconds(entry.get("stop_grace_period", "10s")),
        )
        self.services[name] = service
        return service

    def stop(self, name: str) -> int:
        """The exit status of the service."""
        service = self.services.pop(name)
        return running.stop(service.container, service.image, service.grace)

    def _image(self, name: str, entry: Mapping[str, Any]) -> Image:
        key = str(entry.get("build") or entry["image"])
        if key not in self._images:
            layers = self.scratch / f"{name}-layers"
            layers.mkdir()
            if "build" in entry:
                how = build.Build(
                    context=self.file.parent / entry["build"],
                    layers=layers,
                    arguments=self.how.arguments,
                    environment=self.how.environment,
                )
                self._images[key] = build.build(how.context / "Dockerfile", how)
            else:
                self._images[key] = bases.image(entry["image"], layers)
        return self._images[key]

    def _options(self, entry: Mapping[str, Any]) -> Options:
        secrets = {
            f"/run/secrets/{name}": self.file.parent / self.content["secrets"][name]["file"]
            for name in entry.get("secrets", ())
        }
        volumes = {}
        for text in entry.get("volumes", ()):
            name, _, place = text.partition(":")
            volumes[place] = self.scratch / "volumes" / name
            volumes[place].mkdir(parents=True, exist_ok=True)
        limit = None
        if "mem_limit" in entry:
            match = SIZE.fullmatch(entry["mem_limit"])
            assert match is not None, entry["mem_limit"]
            size = int(match[1]) * 1024 ** ("kmg".index(match[2]) + 1)
            limit = self._stack.enter_context(cgroup.memory_limit(size))
        return Options(
            environment=entry.get("environment", {}),
            volumes=secrets,
            writable_volumes=volumes,
            # Compose gives a read-only container no place but these.
            tmpfs=entry.get("tmpfs", ()),
            read_only=entry.get("read_only", False),
            no_new_privileges="no-new-privileges:true" in entry.get("security_opt", ()),
            cgroup=limit,
            hosts=list(self._entries),
            network_of=self._network,
        )

    @staticmethod
    def _healthcheck(entry: Mapping[str, Any]) -> Healthcheck | None:
        if "healthcheck" not in entry:
            return None
        kind, *words = entry["healthcheck"]["test"]
        command = words if kind == "CMD" else [*build.SHELL, *words]
        timeout = seconds(entry["healthcheck"].get("timeout", "30s"))
        return Healthcheck(command=tuple(command), timeout=timeout)
