"""A standard stream with a lock, and a thread started by the import that holds it most of the time.

LOCKED says which stream, and UNTIL at which fork the thread releases it.
"""

import os
import sys
import threading
import time

forks = 0


class Locked:
    def __init__(self, stream):
        self.stream = stream
        self.lock = threading.Lock()

    def write(self, text):
        with self.lock:
            return self.stream.write(text)

    def flush(self):
        # As the server flushes before it forks: the lock is not asked for here.
        self.stream.flush()


def hold(lock):
    while forks < int(os.environ["UNTIL"]):
        with lock:
            time.sleep(0.01)


def count_fork():
    global forks
    forks += 1
    # A thread that waits for the lock gets it before the fork.
    time.sleep(0.02)


if name := os.environ.get("LOCKED"):
    locked = Locked(getattr(sys, name))
    setattr(sys, name, locked)
    os.register_at_fork(before=count_fork)
    threading.Thread(
        target=hold, args=(locked.lock,), daemon=True, name="logs-all-the-time"
    ).start()
    time.sleep(0.02)


def app(environ, start_response):
    print("answered", file=sys.stderr)
    print("answered")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]
