"""`lockgate ctl events`: what has happened to a server, as its history has it."""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

from lockgate.admin_client import Unreachable, printable, read_object

#: How often a server is asked for new events, in seconds.
INTERVAL = 1.0
#: A server whose admin process is replaced, or that is upgraded, answers again within this time.
PATIENCE = 10.0


class Shown(NamedTuple):
    """The last event that was shown."""

    id: int
    #: Seconds since 1970.
    time: float


#: Before all events.
START = Shown(0, 0.0)


def show_events(address: str, follows: bool, as_json: bool) -> None:
    """Prints the events of the server; with `follows`, also those that come, until it is gone."""
    last = show_new(address, START, as_json)
    heard = time.monotonic()
    while follows:
        time.sleep(INTERVAL)
        try:
            last = show_new(address, last, as_json)
            heard = time.monotonic()
        except Unreachable:
            if time.monotonic() - heard > PATIENCE:
                raise


def show_new(address: str, shown: Shown, as_json: bool) -> Shown:
    """Prints the events after the last one that was shown; returns which one that is now."""
    found = read_object(address, f"/events?after={shown.id}")
    events = found["events"]
    if found["last"] < shown.id:
        # Ids have begun again with a boot of the host, or the last events are not kept any more.
        found = read_object(address, "/events?after=0")
        events = [event for event in found["events"] if event["time"] > shown.time]
    for event in events:
        print(json.dumps(event) if as_json else event_text(event), flush=True)
    return Shown(int(found["last"]), events[-1]["time"] if events else shown.time)


def event_text(event: Any) -> str:
    """As `2026-11-29 23:40:12  ERROR    reload_failed   reload failed: …`."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
    level, kind = event["level"].upper(), event["kind"]
    first, *rest = event["text"].split("\n")
    lines = [f"{moment}  {level:<8} {kind:<20} {printable(first)}"]
    return "\n".join(lines + [f"    {printable(line)}" for line in rest])
