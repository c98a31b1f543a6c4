"""What happens to hosts: each drill gets a site with customers, and leaves it whole."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from machines.site import Host, Site

Drill = Callable[[Site], None]
#: Seconds that a host is away: longer than any recipe waits for it.
AWAY = 12.0


def roll(site: Site) -> None:
    """Each host is stopped, started, and back at work before the next one's turn."""
    for host in site.hosts:
        assert host.server.stop(60) == 0, host.server.errors
        host.start()
        host.serves_again()


def stop(site: Site) -> None:
    """One host is stopped and stays away for a while."""
    host = site.hosts[0]
    assert host.server.stop(60) == 0, host.server.errors
    time.sleep(AWAY)
    host.start()
    host.serves_again()


def kill(site: Site) -> None:
    """All processes of one host end at once, without a word."""
    host = site.hosts[0]
    host.signal_all(signal.SIGKILL)
    host.server.process.wait()
    time.sleep(AWAY)
    host.start()
    host.serves_again()


def unplug(site: Site) -> None:
    """The cable of one host is pulled."""
    _away(site, site.network.unplug, site.network.plug_in)


def silence(site: Site) -> None:
    """One host gets everything, and none of its answers arrive."""
    _away(site, site.network.silence, site.network.unsilence)


def _away(site: Site, cut: Callable[[str], None], mend: Callable[[str], None]) -> None:
    host = site.hosts[0]
    cut(host.address)
    try:
        time.sleep(AWAY)
    finally:
        mend(host.address)
    host.serves_again()


def freeze(site: Site) -> None:
    """All processes of one host stand still, while its kernel accepts connections."""
    host = site.hosts[0]
    host.signal_all(signal.SIGSTOP)
    try:
        time.sleep(AWAY)
    finally:
        host.signal_all(signal.SIGCONT)
    host.serves_again()


def slow(site: Site) -> None:
    """Each request takes half a second on one host."""
    host: Host = site.hosts[0]
    host.slow.write_text("0.5")
    try:
        time.sleep(AWAY)
    finally:
        host.slow.unlink()
    host.serves_again()


DRILLS: dict[str, Drill] = {
    drill.__name__: drill for drill in (roll, stop, kill, unplug, silence, freeze, slow)
}
