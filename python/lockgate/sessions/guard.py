"""A store that may fail: how long a request waits for it, and when it is not asked at all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from lockgate.sessions.record import Store, StoreUnavailable

T = TypeVar("T")

# For this long a store that has failed is not asked: only then does one request try it.
RETRY_AFTER = 1.0

log = logging.getLogger("lockgate.sessions")


class WaitBudget:
    """Seconds that one request may still wait for the store."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class GuardedStore:
    """A store with a circuit breaker: while it fails, one request a second tries it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._has_failed = False
        self._next_attempt = 0.0

    def ask(self, budget: WaitBudget, call: Callable[[Store, float], T]) -> T:
        """What a call of the store with a timeout returns. StoreUnavailable, also without a call
        if the store has failed a moment ago."""
        begin = time.monotonic()
        with self._lock:
            if self._has_failed and begin < self._next_attempt:
                raise StoreUnavailable("the store has failed a moment ago")
            # Only this request waits for a store that has failed.
            self._next_attempt = begin + RETRY_AFTER
        try:
            if budget.seconds <= 0:
                raise StoreUnavailable("the request has waited for the store for too long")
            answer = call(self._store, budget.seconds)
        except StoreUnavailable as error:
            self._on_failure(error)
            raise
        finally:
            budget.seconds -= time.monotonic() - begin
        self._on_success()
        return answer

    def _on_failure(self, error: StoreUnavailable) -> None:
        with self._lock:
            is_first, self._has_failed = not self._has_failed, True
            self._next_attempt = time.monotonic() + RETRY_AFTER
        if is_first:
            log.warning("session store unavailable: sessions are empty, and not saved: %s", error)

    def _on_success(self) -> None:
        if self._has_failed:
            with self._lock:
                is_first, self._has_failed = self._has_failed, False
            if is_first:
                log.warning("session store available again")
