"""One application of held streams for each server.

`/events` stays open, `/publish` sends to all of them, `/` is a hello. `grip` is for Lockgate, `m0`
for m0serve, `threads` keeps a thread for each stream, as on gunicorn's gthread.
"""

import queue
import threading

CONTENT = "marker " + "x" * 92


def hello(start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def grip(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/events":
        fields = [("Grip-Hold", "stream"), ("Grip-Channel", "all")]
        start_response("200 OK", [("Content-Type", "text/event-stream"), *fields])
        return [b": open\n\n"]
    if path == "/publish":
        import lockgate

        lockgate.publish("all", CONTENT)
    return hello(start_response)


def m0(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/events":
        fields = [("M0-Hold", "stream"), ("M0-Channel", "all")]
        start_response("200 OK", [("Content-Type", "text/event-stream"), *fields])
        return [b": open\n\n"]
    if path == "/publish":
        from m0serve import m0pub

        m0pub.publish("all", CONTENT)
    return hello(start_response)


QUEUES = set()
LOCK = threading.Lock()


def events():
    waiting = queue.SimpleQueue()
    with LOCK:
        QUEUES.add(waiting)
    try:
        yield b": open\n\n"
        while True:
            yield b"data: " + waiting.get().encode() + b"\n\n"
    finally:
        with LOCK:
            QUEUES.discard(waiting)


def threads(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return events()
    if path == "/publish":
        with LOCK:
            for waiting in QUEUES:
                waiting.put(CONTENT)
    return hello(start_response)
