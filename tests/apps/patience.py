"""Calls that last until a test ends them, and an application that asks after its client."""

import os
import time
from pathlib import Path

KEPT = []


def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    client_disconnected = environ["lockgate.client_disconnected"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/hold":
        # QUERY_STRING is a path: PATH.started counts who came, and PATH itself lets them go on.
        note(query + ".started", "hold")
        wait_for(lambda: os.path.exists(query))
        return [b"held"]
    if path == "/note":
        note(query, "called")
        return [b"noted"]
    if path == "/brief":
        time.sleep(0.02)
        return [b"brief"]
    if path == "/ask":
        return [str(client_disconnected()).encode()]
    if path == "/work":
        return [work(query, client_disconnected)]
    if path == "/stream":
        return stream(query, client_disconnected)
    if path == "/keep":
        KEPT.append(client_disconnected)
        return [b"kept"]
    if path == "/kept":
        return [str([kept() for kept in KEPT]).encode()]
    return [b"?"]


def work(query, client_disconnected):
    note(query, f"connected {not client_disconnected()}")
    has_left = wait_for(client_disconnected)
    note(query, f"left {has_left}")
    return b"done"


def stream(query, client_disconnected):
    yield b"piece"
    yield work(query, client_disconnected)


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def note(path, line):
    with Path(path).open("a") as file:
        file.write(line + "\n")
