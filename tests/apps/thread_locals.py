"""Thread-locals: /meet?N makes an object in a reference cycle, as Django does."""

import threading

local = threading.local()
lock = threading.Lock()
barriers = {}
alive = 0


class Kept:
    def __init__(self):
        global alive
        self.cycle = self
        with lock:
            alive += 1

    def __del__(self):
        global alive
        # Not `with lock`: it may run in any thread, also in one that has the lock.
        alive -= 1


def app(environ, start_response):
    if environ["PATH_INFO"] == "/meet":
        parties = int(environ["QUERY_STRING"])
        if not hasattr(local, "kept"):
            local.kept = Kept()
        with lock:
            barrier = barriers.setdefault(parties, threading.Barrier(parties))
        barrier.wait(60)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % alive]


def endless(environ, start_response):
    """An event stream that a client keeps for ever, and anything else."""
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    if environ["PATH_INFO"] != "/events":
        return [b"done"]

    def events():
        forever = threading.Event()
        while True:
            yield b"data: tick\n\n"
            forever.wait(0.2)

    return events()
