"""Calls that wait for each other, and whether there is a GIL."""

import json
import sys
import threading
from urllib.parse import parse_qsl

BARRIERS = {}
LOCK = threading.Lock()


def app(environ, start_response):
    parties = int(dict(parse_qsl(environ["QUERY_STRING"]))["parties"])
    with LOCK:
        barrier = BARRIERS.setdefault(parties, threading.Barrier(parties))
    try:
        barrier.wait(3)
        has_met = True
    except threading.BrokenBarrierError:
        # Each that waits sees it broken; the next calls begin again.
        with LOCK:
            if BARRIERS.get(parties) is barrier:
                del BARRIERS[parties]
        has_met = False
    body = json.dumps({"has_met": has_met, "has_gil": sys._is_gil_enabled()}).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
