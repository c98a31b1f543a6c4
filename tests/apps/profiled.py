"""A program whose time is in known places: a hot line, C code with and without the GIL, a lock."""

import asyncio
import re
import selectors
import socket
import threading
import time
import zlib

LOCK = threading.Lock()
#: A pattern that backtracks for long; `re` holds the GIL meanwhile.
PATTERN = re.compile(r"(?:a|aa)+$")
SUBJECT = "a" * 24 + "b"
DATA = bytes(range(256)) * 4000


def compute(until):
    total = 0
    while time.monotonic() < until:
        total += sum(i * i for i in range(2000))  # the hot line
    return total


def match(until):
    while time.monotonic() < until:
        PATTERN.match(SUBJECT)  # holds the GIL


def compress(until):
    while time.monotonic() < until:
        zlib.compress(DATA, 9)  # releases the GIL


def hold(until):
    with LOCK:
        time.sleep(max(0, until - time.monotonic()))  # has the lock


def wait_for_lock(until):
    # Until the other view has it.
    while (rest := until - time.monotonic()) > 0:
        if LOCK.acquire(timeout=rest):  # waits for the lock
            LOCK.release()


def select(until):
    # Its peer sends nothing.
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client, server.accept()[0]:
            with selectors.EpollSelector() as selector:
                selector.register(client, selectors.EVENT_READ)
                selector.select(max(0, until - time.monotonic()))


def sleep_in_loop(until):
    asyncio.run(asyncio.sleep(max(0, until - time.monotonic())))


def answer(until):
    del until
    sum(range(5000))  # a short request


VIEWS = {
    "/brief": answer,
    "/compute": compute,
    "/match": match,
    "/compress": compress,
    "/hold": hold,
    "/lock": wait_for_lock,
    "/select": select,
    "/loop": sleep_in_loop,
}


def app(environ, start_response):
    name, _, rest = environ["PATH_INFO"].lstrip("/").partition("/")
    del rest
    view = VIEWS["/" + name]
    seconds = float(environ["QUERY_STRING"] or 1)
    view(time.monotonic() + seconds)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done\n"]
