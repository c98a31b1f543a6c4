"""Deploys and signals under load, one function each: no client may see any of them.

Each gets a site with its load and leaves a server that serves the newest good version.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from harness import ImportGate, eventually
from harness.process import is_alive

from soak.load import Load
from soak.site import PATIENCE, WORKERS, Site, kill

Drill = Callable[[Site, Load], None]
DEPLOYS: list[Drill] = []
# What is lost with a killed process is missing in the access log, so these come last.
KILLS: list[Drill] = []


def drill(function: Drill) -> Drill:
    DEPLOYS.append(function)
    return function


def await_answers(load: Load) -> None:
    """So that each client has been answered, and holds a connection or not."""
    enough = load.total + 50
    eventually(lambda: load.total >= enough, within=PATIENCE, what="50 more answers")


def await_version(load: Load, version: str) -> None:
    enough = load.versions[version] + 20
    eventually(lambda: load.versions[version] >= enough, within=PATIENCE, what=f"version {version}")


def replaced(site: Site, load: Load, version: str) -> None:
    """A reload that has to succeed."""
    before = site.all_workers()
    assert site.reload() == "done", site.status()["reload"]
    site.await_gone(before)
    await_version(load, version)


def unchanged(site: Site, load: Load) -> None:
    """A reload that has to fail: the same workers serve."""
    before = site.workers()
    assert site.reload() == "failed", site.status()["reload"]
    assert site.workers() == before, f"{site.workers()} instead of {before}"
    await_version(load, site.version)


def failing(preamble: str = "", health: str = "200 OK", **settings: object) -> Drill:
    def run(site: Site, load: Load) -> None:
        site.deploy("broken", preamble, health)
        site.configure(**settings)
        unchanged(site, load)
        assert load.versions["broken"] == 0, "a broken version has answered"
        site.configure()
        site.deploy(site.version)
        replaced(site, load, site.version)

    return run


@drill
def good_reload(site: Site, load: Load) -> None:
    for number in range(2):
        site.version = f"good{number}"
        site.deploy(site.version)
        replaced(site, load, site.version)


for name, run in {
    "import_error": failing("import no_such_module_at_all"),
    "syntax_error": failing("def def"),
    "warm_up_answers_500": failing(health="500 Oops"),
    "settings_error": failing(workers=0),
    "boot_timeout": failing("time.sleep(600)", boot_timeout="2s"),
    "death_at_boot": failing("os._exit(9)"),
}.items():
    run.__name__ = name
    drill(run)


@drill
def reload_during_reload(site: Site, load: Load) -> None:
    gate = ImportGate(site.directory, "during")
    ended = site.status()["reload"]["ended"]
    before = site.all_workers()
    site.deploy("passed-over", gate.preamble)
    site.signal(signal.SIGHUP)
    gate.wait_for(1 if site.preload else WORKERS)
    site.version = "last-of-two"
    site.deploy(site.version)
    site.signal(signal.SIGHUP)
    gate.open()
    assert site.await_reload(ended + 2) == "done"
    site.await_gone(before)
    await_version(load, site.version)


@drill
def recycling(site: Site, load: Load) -> None:
    site.configure(max_requests=40, max_requests_jitter=20)
    assert site.reload() == "done"
    first = site.await_workers(WORKERS)
    site.await_gone(first)
    site.configure()
    replaced(site, load, site.version)
    site.await_workers(WORKERS)


@drill
def more_and_fewer_workers(site: Site, load: Load) -> None:
    for _ in range(2):
        site.signal(signal.SIGTTIN)
        site.await_workers(WORKERS + 1)
        site.signal(signal.SIGTTOU)
        site.await_workers(WORKERS)


@drill
def rotated_log(site: Site, load: Load) -> None:
    moved = site.access_log.with_name("access.log.1")
    site.access_log.rename(moved)
    site.signal(signal.SIGUSR1)
    eventually(
        lambda: site.access_log.exists() and site.access_log.stat().st_size > 0,
        within=PATIENCE,
        what="lines in the new file",
    )


@drill
def upgrade(site: Site, load: Load) -> None:
    before = site.all_workers()
    site.signal(signal.SIGUSR2)
    site.await_gone(before)
    assert site.server.process.poll() is None, "the process is another one"
    site.await_workers(WORKERS)
    await_version(load, site.version)


def killed_worker(site: Site, load: Load) -> None:
    victim = site.workers()[0]
    load.note_kill(victim)
    kill(victim)
    site.await_gone([victim])
    site.await_workers(WORKERS)
    await_answers(load)


def killed_helpers(site: Site, load: Load) -> None:
    """The fork server, and the process that answers operators: clients lose nothing."""
    helpers = site.helpers()
    for pid in helpers:
        kill(pid)
    site.await_gone(helpers)
    site.version = "after-the-helpers"
    site.deploy(site.version)
    replaced(site, load, site.version)


KILLS += [killed_worker, killed_helpers]


def stop(site: Site, load: Load) -> None:
    """TERM: what was accepted is answered, and the server ends with 0."""
    workers = site.all_workers()
    load.expect_stop()
    assert site.server.stop(within=PATIENCE) == 0, "the exit code is not 0"
    load.join()
    assert not any(map(is_alive, workers)), "workers outlive the server"
