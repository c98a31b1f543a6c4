"""Shows the state of the interpreter, and makes unreferenced cycles of objects."""

import gc
import json
import os
import sys
import threading
import time
import weakref
from pathlib import Path

COLLECTOR = os.environ.get("COLLECTOR", "")
if COLLECTOR == "disabled":
    gc.disable()
if "SWITCH_INTERVAL" in os.environ:
    sys.setswitchinterval(float(os.environ["SWITCH_INTERVAL"]))

RUNNING = 0
ALIVE = weakref.WeakSet()
GATE = []
SEEN = {"made": 0, "collections": 0, "in_request": 0, "generations": [0, 0, 0]}


class Circle:
    """Holds itself, and some memory."""

    def __init__(self, size):
        self.me, self.memory = self, bytearray(size)


def note(phase, info):
    if phase == "start":
        SEEN["collections"] += 1
        SEEN["in_request"] += RUNNING
        SEEN["generations"][info["generation"]] += 1
        if GATE and info["generation"] == 2:
            wait_until(GATE.pop().exists)


gc.callbacks.append(note)


def make(count, size=0):
    for _ in range(count):
        circle = Circle(size)
        if size:
            SEEN["made"] += 1
            ALIVE.add(circle)


def make_and_wait(path):
    """Garbage without a request: after the response. The file appears when it was collected."""
    wait_until(Path(f"{path}.answered").exists)
    collections = SEEN["collections"]
    make(5_000)
    if wait_until(lambda: SEEN["collections"] > collections):
        Path(path).touch()


def wait_until(is_true):
    deadline = time.monotonic() + 30
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_true()


def fork():
    """Whether automatic collection is on in a child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"1" if gc.isenabled() else b"0")
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(reader, 1) == b"1"


def app(environ, start_response):
    global RUNNING
    RUNNING += 1
    try:
        path, answer = environ["PATH_INFO"], {}
        if path == "/circles":
            make(500)
        elif path == "/large":
            make(2, 100_000)
        elif path == "/background":
            threading.Thread(target=make_and_wait, args=(environ["QUERY_STRING"],)).start()
        elif path == "/held":
            # The full collection that this makes due lasts until the file appears.
            GATE.append(Path(environ["QUERY_STRING"]))
            make(60_000)
        elif path == "/enable":
            gc.enable()
        elif path == "/fork":
            answer = {"is_enabled_in_child": fork()}
        answer |= {
            "is_enabled": gc.isenabled(),
            "frozen": gc.get_freeze_count(),
            "count": gc.get_count()[0],
            "alive": len(ALIVE),
            "switch_interval": sys.getswitchinterval(),
            **SEEN,
        }
        body = json.dumps(answer).encode()
        start_response("200 OK", [("Content-Type", "application/json")])
        return [body]
    finally:
        RUNNING -= 1
