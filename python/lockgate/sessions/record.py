"""What is kept of a session, and the interface of the stores that keep it on the server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Record:
    """The content of a session with its times, in Unix seconds."""

    created: int
    used: int
    is_persistent: bool
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Changes:
    """What one request has changed. Values are JSON."""

    assigned: Mapping[str, str]
    removed: Sequence[str]


class SessionTooLarge(ValueError):
    """A session has more content than fits into its cookie, or than a store may get."""


class StoreUnavailable(Exception):
    """A store did not answer within its timeout, or refused."""


class Store(Protocol):
    """Keeps sessions on the server. Each call returns within `timeout` seconds, or raises
    `StoreUnavailable`. `ttl` is the number of seconds after which the session may be dropped."""

    def load(self, key: str, timeout: float) -> Record | None: ...

    def create(self, key: str, record: Record, ttl: int, timeout: float) -> None: ...

    def update(
        self, key: str, new_key: str, times: Record, changes: Changes, ttl: int, timeout: float
    ) -> bool:
        """Applies changes to what is stored at that moment, and moves it to the new key.

        False if the session is no longer there: it is not made again. The data of `times` is not
        used."""
        ...

    def delete(self, key: str, timeout: float) -> None: ...


def dumps(value: object) -> str:
    """The shortest JSON. Raises TypeError or ValueError for what JSON cannot express."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # A lone surrogate has no UTF-8.
    text.encode()
    return text
