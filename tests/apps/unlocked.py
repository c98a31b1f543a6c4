"""Calls that wait for each other in pairs, and whether there is a GIL."""

import json
import sys
import threading

PAIR = threading.Barrier(2)


def app(environ, start_response):
    try:
        PAIR.wait(0.5)
        has_met = True
    except threading.BrokenBarrierError:
        # The next calls begin again.
        PAIR.reset()
        has_met = False
    body = json.dumps({"has_met": has_met, "has_gil": sys._is_gil_enabled()}).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
