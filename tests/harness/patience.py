"""The only place where a test waits: it asks again and again, and gives up at a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def eventually(ask: Callable[[], Answer], *, within: float = 10.0, what: str = "") -> Answer:
    """Gives the first truthy answer of `ask`; fails the test after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within} s: {what or ask} (last answer {answer!r})")
        time.sleep(0.01)
