"""How long a session is valid."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.sessions.record import Record

# By how much the clocks of an application's hosts may differ, in seconds.
CLOCK_SKEW = 60
# How often the time of the last use is written in an idle lifetime.
TOUCHES = 10
# For the expiry in a store where no lifetime is limited.
LONGEST = 10 * 365 * 86400


@dataclass(frozen=True)
class Lifetimes:
    """Limits in seconds. `idle` counts from the last use, `absolute` from the beginning."""

    idle: int | None
    absolute: int | None

    def __post_init__(self) -> None:
        for seconds in (self.idle, self.absolute):
            if seconds is not None and seconds <= 0:
                raise ValueError(f"a lifetime of sessions is positive, not {seconds}")

    def remaining(self, record: Record, now: int) -> int:
        """Seconds until the session ends if it is not used again; zero or less: it has ended."""
        ends = [
            start + length - now
            for start, length in ((record.used, self.idle), (record.created, self.absolute))
            if length is not None
        ]
        return min(ends, default=LONGEST)

    def is_valid(self, record: Record, now: int) -> bool:
        # A time in the future would extend the lifetimes.
        is_past = max(record.created, record.used) <= now + CLOCK_SKEW
        return is_past and self.remaining(record, now) > 0

    def wants_touch(self, record: Record, now: int) -> bool:
        """Whether a use without a change has to be written down."""
        return self.idle is not None and now - record.used >= max(self.idle // TOUCHES, 1)
