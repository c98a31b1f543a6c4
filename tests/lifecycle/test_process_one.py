"""Life as process 1, as in a container: signals work and orphans are reaped."""

import os
import signal
import subprocess

import pytest
from harness import eventually
from harness.process import children, process_stat

NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"]


@pytest.fixture
def server(start):
    try:
        tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if tried.returncode != 0:
        pytest.skip(f"no new process namespace here: {tried.stderr.strip()}")
    return start("gates:app", workers=2, prefix=NAMESPACE)


def supervisor_of(server):
    (supervisor,) = children(server.pid)
    return supervisor


def test_process_one_stops_on_term(server):
    supervisor = supervisor_of(server)
    assert server.get("/").status == 200
    assert len(children(supervisor)) == 2
    os.kill(supervisor, signal.SIGTERM)
    assert server.wait() == 0


def test_process_one_reaps_orphans_quietly(server):
    supervisor = supervisor_of(server)
    workers = children(supervisor)
    for _ in range(5):
        assert server.get("/orphan").status == 200
    # Adopted alive, perhaps: an orphan has to leave before it can be reaped.
    eventually(lambda: children(supervisor) == workers, what="the orphans have left")
    eventually(lambda: not zombies_of(supervisor), what="the orphans are reaped")
    assert children(supervisor) == workers
    assert "[ERROR]" not in server.errors
    os.kill(supervisor, signal.SIGTERM)
    assert server.wait() == 0


def zombies_of(parent):
    found = []
    for entry in os.listdir("/proc"):
        stat = process_stat(int(entry)) if entry.isdigit() else None
        if stat is not None and stat[0] == "Z" and stat[1] == str(parent):
            found.append(int(entry))
    return found
