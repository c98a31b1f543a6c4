"""A store that may fail: how long a request waits for it, and when it is not asked at all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from lockgate.sessions.record import Store, StoreUnavailable

T = TypeVar("T")

# After this number of failures in a row the store is not asked for a time, in seconds.
FAILURES = 3
RETRY_AFTER = 1.0
# Between two warnings of a process.
WARNING_INTERVAL = 10.0

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
        self._failures = 0
        self._next_attempt = 0.0
        self._is_reported = False
        # A store that is full, or a replica, answers reads.
        self._only_writes_fail = False
        self._next_warning = 0.0

    def ask(
        self, budget: WaitBudget, call: Callable[[Store, float], T], *, is_write: bool = False
    ) -> T:
        """What a call of the store with a timeout returns. StoreUnavailable, also without a call
        if the store has failed a moment ago."""
        if budget.seconds <= 0:
            raise StoreUnavailable("the request has waited for the store for too long")
        begin = time.monotonic()
        with self._lock:
            if self._failures >= FAILURES:
                if begin < self._next_attempt:
                    raise StoreUnavailable("the store has failed a moment ago")
                # Only this request waits for it.
                self._next_attempt = begin + RETRY_AFTER
        try:
            answer = call(self._store, budget.seconds)
        except StoreUnavailable as error:
            self._on_failure(error, time.monotonic(), is_write)
            raise
        finally:
            budget.seconds -= time.monotonic() - begin
        if self._failures or self._is_reported:
            self._on_success(is_write)
        return answer

    def _on_failure(self, error: StoreUnavailable, now: float, is_write: bool) -> None:
        with self._lock:
            self._failures += 1
            self._next_attempt = now + RETRY_AFTER
            is_new = not self._is_reported and now >= self._next_warning
            if is_new:
                self._is_reported, self._next_warning = True, now + WARNING_INTERVAL
            self._only_writes_fail = is_write and (is_new or self._only_writes_fail)
        if is_new:
            # A store that takes no changes may still be read.
            effect = "changes are not saved" if is_write else "sessions are empty, and not saved"
            log.warning("session store unavailable: %s: %s", effect, error)

    def _on_success(self, is_write: bool) -> None:
        with self._lock:
            self._failures = 0
            if self._only_writes_fail and not is_write:
                return
            self._only_writes_fail = False
            was_reported, self._is_reported = self._is_reported, False
        if was_reported:
            log.warning("session store available again")
