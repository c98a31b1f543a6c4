"""Stand-ins for what an application has of its server: messages reach no client."""

from __future__ import annotations

import time
from typing import Any

from lockgate import cache, publishing
from lockgate.check.settings import Settings


class Publisher:
    """Accepts messages that no client gets."""

    def publish(self, *message: Any) -> None:
        pass


class Deadline:
    """The deadline of one request, which is not enforced here."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def extend(self, seconds: float) -> None:
        self._ends = max(self._ends, time.monotonic() + seconds)

    def remaining(self) -> float:
        return max(0.0, self._ends - time.monotonic())


def install(settings: Settings) -> None:
    """Before the import, as in a worker."""
    if settings.get("push") is True:
        publishing.install(Publisher(), "")  # type: ignore[arg-type]
    # An empty cache: every purge removes 0 entries.
    cache.install(None)
