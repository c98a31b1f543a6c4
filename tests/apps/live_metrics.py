"""Counts with prometheus_client in multiprocess mode, as docs/observing.md shows it."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead


def forget_dead_workers():
    """Removes the gauges of workers that are no more; runs in each new worker."""
    directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    for pid in {int(file.stem.rpartition("_")[2]) for file in directory.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)
        except PermissionError:
            pass


forget_dead_workers()
os.register_at_fork(after_in_child=forget_dead_workers)

gauge = Gauge("here", "Workers that count.", multiprocess_mode="livesum")


def app(environ, start_response):
    gauge.set(1)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    body = generate_latest(registry)
    if environ["PATH_INFO"] == "/pid":
        body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
