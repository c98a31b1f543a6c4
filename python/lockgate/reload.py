"""`lockgate ctl reload --wait`: requests a reload, shows its progress and its result."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from lockgate.admin_client import Gone, Unreachable, printable, read_status

#: Seconds between two status requests.
POLL_INTERVAL = 0.1
#: How long a running server may be unreachable: the admin process may be restarting.
UNREACHABLE_FOR = 5.0


def reload_and_wait(address: str, ask: Callable[[], None], timeout: float | None) -> int:
    """Calls `ask`, which requests the reload. Returns 0 when the new workers serve, else 1."""
    status = read_status(address)
    if "reload" not in status:
        raise Unreachable(
            f"the server is Lockgate {status['version']}, which does not report the progress of a "
            "reload: omit --wait, and read the log"
        )
    pid, before = status["pid"], status["reload"]
    # The next reload to begin reads the current settings, whatever triggered it.
    number = before["begun"] + 1
    ask()
    if before["begun"] > before["ended"]:
        say("another reload is in progress: waiting for the next one")
    deadline = None if timeout is None else time.monotonic() + timeout
    wanted, shown = 0, ""
    while True:
        reload = read_progress(address, pid)
        is_over, has_failed = reload["ended"] >= number, reload["failed"] >= number
        progress = ""
        if reload["begun"] == number and reload["wanted"]:
            wanted = reload["wanted"]
            progress = f"{reload['ready']}/{wanted} ready"
        elif is_over and wanted and not has_failed:
            # The next reload has already begun; this one ended because all workers were ready.
            progress = f"{wanted}/{wanted} ready"
        if progress and progress != shown:
            say(progress)
            shown = progress
        if is_over:
            return report_end(reload, has_failed)
        if deadline is not None and time.monotonic() >= deadline:
            raise Unreachable(
                f"the reload is not done after {timeout:g} s ({shown or 'no worker is ready'}) and "
                "continues; until it is done the old workers serve"
            )
        time.sleep(POLL_INTERVAL)


def report_end(reload: Any, has_failed: bool) -> int:
    if has_failed:
        print("lockgate: reload failed:", file=sys.stderr, end=" ")
        for line in reload["why"].splitlines():
            print(printable(line), file=sys.stderr)
        return 1
    say(f"done in {reload['last_seconds']:.1f} s")
    return 0


def read_progress(address: str, pid: int) -> Any:
    """The progress of the reload, while the server is running."""
    until = time.monotonic() + UNREACHABLE_FOR
    while True:
        try:
            status = read_status(address)
        except Gone:
            # The supervisor holds the socket open, even while the admin process restarts.
            raise Unreachable(f"the server (pid {pid}) has ended during the reload") from None
        except Unreachable as problem:
            if time.monotonic() >= until:
                raise Unreachable(f"the server (pid {pid}) no longer answers: {problem}") from None
            time.sleep(POLL_INTERVAL)
            continue
        if status["pid"] != pid:
            raise Unreachable(
                f"the server (pid {pid}) has ended during the reload; pid {status['pid']} answers"
            )
        return status["reload"]


def say(text: str) -> None:
    print(text, flush=True)
