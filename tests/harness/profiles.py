"""What tests of profiles share: requests that run meanwhile, and what is in a profile."""

import threading
from contextlib import contextmanager

from harness import Browser, eventually


@contextmanager
def running(admin, *paths, seconds):
    """Meanwhile these paths are requested, and the views run for that time."""
    browser = Browser(f"http://127.0.0.1:{admin.server.port}")
    threads = [threading.Thread(target=browser.open, args=(f"{path}?{seconds}",)) for path in paths]
    for thread in threads:
        thread.start()
    try:
        eventually(
            lambda: (
                sum(len(worker["running"]) for worker in admin.status()["workers"]) == len(paths)
            ),
            what="all requests run",
        )
        yield
    finally:
        for thread in threads:
            thread.join()


def activities(profile, label):
    [found] = [path for path in profile["paths"] if path["label"] == label]
    return {one["kind"]: one["seconds"] / found["seconds"] for one in found["activities"]}
