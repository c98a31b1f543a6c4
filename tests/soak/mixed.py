"""Long phases: one in which nothing happens but requests, and one of random signals and kills."""

from __future__ import annotations

import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable

from harness import eventually

from soak.load import Load
from soak.site import PATIENCE, WORKERS, Site, holdings, kill

MIB = 1 << 20
# An allocator keeps some of what a burst took, and a thread that starts takes a stack.
MEMORY = 8 * MIB
# Of what stays for each request: a leak of one small object is more.
MEMORY_PER_REQUEST = 24
DESCRIPTORS = 8
PAUSE = 0.5


class Samples:
    """Memory and descriptors of processes over time, with how many requests were answered."""

    def __init__(self, pids: list[int]) -> None:
        self.by_pid: dict[int, list[tuple[int, int, int]]] = {pid: [] for pid in pids}

    def take(self, requests: int) -> None:
        for pid, samples in self.by_pid.items():
            if held := holdings(pid):
                samples.append((requests, *held))

    def growth(self) -> list[str]:
        """Processes that held clearly more in the last quarter than in the second."""
        found = []
        for pid, samples in self.by_pid.items():
            quarter = len(samples) // 4
            early, late = samples[quarter : 2 * quarter], samples[-quarter:]
            if not quarter:
                found.append(f"process {pid} was looked at {len(samples)} times")
                continue
            requests, memory, descriptors = (
                statistics.median(values[place] for values in late)
                - statistics.median(values[place] for values in early)
                for place in range(3)
            )
            if memory > MEMORY + MEMORY_PER_REQUEST * requests:
                found.append(f"process {pid}: {memory / MIB:.1f} MiB more, {requests} requests on")
            if descriptors > DESCRIPTORS:
                found.append(
                    f"process {pid}: {descriptors} more descriptors, {requests} requests on"
                )
        return found


def steady(site: Site, load: Load, seconds: float) -> list[str]:
    """Requests and nothing else: the same processes at the end, which hold no more than before."""
    pids = [site.server.pid, *site.helpers(), *site.workers()]
    samples = Samples(pids)
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        samples.take(load.total)
        time.sleep(min(PAUSE, seconds / 40))
    still = [site.server.pid, *site.helpers(), *site.workers()]
    changed = [] if still == pids else [f"the processes are {still} instead of {pids}"]
    return [*samples.growth(), *changed]


def disturbed(
    site: Site, load: Load, seconds: float, rng: random.Random, done: Counter[str]
) -> list[str]:
    """Random signals and kills, one every second or so; then the server serves as at first."""
    samples = Samples([site.server.pid])
    began = holdings(site.server.pid)
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        samples.take(load.total)
        name = rng.choice(list(ACTIONS))
        ACTIONS[name](site, load, rng)
        done[name] += 1
        time.sleep(rng.choice([0, 0.3, 1, 2]))
    site.version = "calm"
    site.deploy(site.version)
    site.configure()
    calm(site)
    eventually(lambda: load.versions["calm"] >= 20, within=PATIENCE, what="the last version")
    found = samples.growth()
    ended = eventually(lambda: holdings(site.server.pid), what="the supervisor")
    if began and ended[1] > began[1] + DESCRIPTORS:
        found.append(f"supervisor: {ended[1]} descriptors instead of {began[1]}")
    return found


def calm(site: Site) -> None:
    """Every reload that was asked for has ended, and the last version serves alone."""

    def is_calm() -> bool:
        status = site.status()
        return (
            status["reload"]["state"] in ("done", "failed", "never")
            and status["reload"]["begun"] == status["reload"]["ended"]
            and all(worker["state"] == "serving" for worker in status["workers"])
        )

    eventually(is_calm, within=PATIENCE, what="all reloads have ended")
    assert site.reload() == "done", site.status()["reload"]
    # What TTIN and TTOU have changed stays, so the number may be another one.
    eventually(is_calm, within=PATIENCE, what="the last reload has ended")


def deploy_good(site: Site, load: Load, rng: random.Random) -> None:
    site.deploy(f"random{rng.randrange(1000)}")
    site.signal(signal.SIGHUP)


def deploy_broken(site: Site, load: Load, rng: random.Random) -> None:
    site.deploy("broken", rng.choice(["import no_such_module", "os._exit(9)", "def def"]))
    site.signal(signal.SIGHUP)
    time.sleep(1)
    site.deploy("repaired")


def kill_worker(site: Site, load: Load, rng: random.Random) -> None:
    if workers := site.workers():
        victim = rng.choice(workers)
        load.note_kill(victim)
        try:
            kill(victim)
        except ProcessLookupError:
            # It was asked to leave and has left.
            pass


def kill_helper(site: Site, load: Load, rng: random.Random) -> None:
    if helpers := site.helpers():
        victim = rng.choice(helpers)
        # It may have become a worker meanwhile: a child that was just made.
        load.note_kill(victim)
        try:
            kill(victim)
        except ProcessLookupError:
            pass


def more_workers(site: Site, load: Load, rng: random.Random) -> None:
    if len(site.workers()) < WORKERS + 2:
        site.signal(signal.SIGTTIN)


def fewer_workers(site: Site, load: Load, rng: random.Random) -> None:
    if len(site.workers()) > 1:
        site.signal(signal.SIGTTOU)


def send(number: int) -> Callable[[Site, Load, random.Random], None]:
    return lambda site, load, rng: site.signal(number)


ACTIONS: dict[str, Callable[[Site, Load, random.Random], None]] = {
    "good reload": deploy_good,
    "broken reload": deploy_broken,
    "upgrade": send(signal.SIGUSR2),
    "logs opened": send(signal.SIGUSR1),
    "WINCH": send(signal.SIGWINCH),
    "one worker more": more_workers,
    "one worker less": fewer_workers,
    "killed worker": kill_worker,
    "killed helper": kill_helper,
}
