"""Customers in a process of their own, and what they have seen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.process import TESTS

READERS, BUYERS = 6, 3


@dataclass
class Outcome:
    """What the customers have seen, and what the hosts have done."""

    answered: Counter[str] = field(default_factory=Counter)
    #: By method and status, or method and exception.
    failures: Counter[str] = field(default_factory=Counter)
    #: Answers by host.
    hosts: Counter[str] = field(default_factory=Counter)
    #: Orders that were answered with 200, and orders that were not.
    placed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    #: Seconds of the slowest request.
    slowest: float = 0.0
    #: GETs that a customer has sent a second time, as browsers do.
    repeated: int = 0
    #: How often the hosts have executed each order.
    executed: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def twice(self) -> list[str]:
        """Orders that were executed more than once."""
        return [order for order, times in self.executed.items() if times > 1]

    @property
    def lost(self) -> list[str]:
        """Orders that the customer believes to be placed, and no host has executed."""
        return [order for order in self.placed if not self.executed[order]]


@contextmanager
def visiting(address: tuple[str, int], prefix: Sequence[str] = ()) -> Iterator[Outcome]:
    """Customers at `address` for the block; the outcome is complete after it.

    `prefix` is a command that runs another one.
    """
    outcome = Outcome()
    command = [*prefix, sys.executable, "-m", "machines.client", address[0], str(address[1])]
    process = subprocess.Popen(
        [*command, str(READERS), str(BUYERS)],
        cwd=TESTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield outcome
        found: dict[str, Any] = json.loads(process.communicate(timeout=120)[0])
    finally:
        process.kill()
        process.wait()
    for name in ("answered", "failures", "hosts"):
        getattr(outcome, name).update(found[name])
    outcome.placed, outcome.refused = found["placed"], found["refused"]
    outcome.slowest, outcome.repeated = found["slowest"], found["repeated"]
