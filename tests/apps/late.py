"""Requests that take too long, each in another way. Where QUERY_STRING is a path, it ends them.

A file that the header X-Mark names says that the call has begun.
"""

import ctypes
import os
import random
import threading
import time
from pathlib import Path

from lockgate import RequestTimeout

TEXT = [("Content-Type", "text/plain")]
LOCK = threading.Lock()
LOCK.acquire()


def app(environ, start_response):
    if "HTTP_X_MARK" in environ:
        Path(environ["HTTP_X_MARK"]).touch()
    return ROUTES[environ["PATH_INFO"]](environ, start_response)


def answer(start_response, text):
    body = str(text).encode()
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body]


def pid(environ, start_response):
    return answer(start_response, os.getpid())


def brief(environ, start_response):
    time.sleep(0.02)
    return answer(start_response, os.getpid())


def spin(environ, start_response):
    endless_loop()
    return answer(start_response, "never")


def endless_loop():
    while True:
        pass


def stubborn_spin(environ, start_response):
    """Catches what `except Exception` catches."""
    while True:
        try:
            endless_loop()
        except Exception:
            pass


def cleaned(environ, start_response):
    """Notes how it was ended, and that a `finally` runs in peace."""
    notes = Path(environ["QUERY_STRING"])
    try:
        endless_loop()
    except RequestTimeout as error:
        with notes.open("a") as file:
            print(type(error).__mro__[1].__name__, file=file)
        raise
    finally:
        time.sleep(0.2)
        with notes.open("a") as file:
            print("finally", file=file)


def sleep(environ, start_response):
    long_sleep()
    return answer(start_response, "never")


def long_sleep():
    time.sleep(600)


def hold_interpreter(environ, start_response):
    ctypes.PyDLL(None).sleep(600)
    return answer(start_response, "never")


def extend_and_hold_interpreter(environ, start_response):
    environ["lockgate.deadline"].extend(600)
    return hold_interpreter(environ, start_response)


CHAIN = "def go(deeper):\n    return deeper[0](deeper[1:])\n"


def spin_below_many_files(environ, start_response):
    """QUERY_STRING names a directory for the files."""
    calls = []
    for number in range(30):
        file = Path(environ["QUERY_STRING"], f"chain_{number}.py")
        names = {}
        exec(compile(CHAIN, file, "exec"), names)
        calls.append(names["go"])
    calls[0]([*calls[1:], lambda _: endless_loop()])
    return answer(start_response, "never")


def deadlock(environ, start_response):
    wait_for_lock()
    return answer(start_response, "never")


def wait_for_lock():
    with LOCK:
        pass


def gated(environ, start_response):
    gate = Path(environ["QUERY_STRING"])
    gate.with_name(gate.name + ".started").touch()
    while not gate.exists():
        time.sleep(0.005)
    return answer(start_response, os.getpid())


def stream(environ, start_response):
    start_response("200 OK", TEXT)
    while True:
        yield b"piece"
        time.sleep(0.02)


def lengthless_stream(environ, start_response):
    """One piece, then silence."""
    start_response("200 OK", TEXT)
    yield b"piece"
    endless_loop()


def late_close(environ, start_response):
    class Body(list):
        def close(self):
            endless_loop()

    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return Body([b"whole"])


def about_the_limit(environ, start_response):
    """Ends just before or after 50 ms; half of them compute all the time, to be interrupted."""
    until = time.perf_counter() + random.uniform(0.03, 0.07)
    if random.random() < 0.5:
        time.sleep(until - time.perf_counter())
    while time.perf_counter() < until:
        pass
    return answer(start_response, "in time")


def extend(environ, start_response):
    deadline = environ["lockgate.deadline"]
    had = deadline.remaining()
    has = deadline.extend(5)
    time.sleep(had + 0.5)
    return answer(start_response, f"{had} {has} {deadline.extend(0)}")


KEPT = []


def keep(environ, start_response):
    KEPT.append(environ["lockgate.deadline"])
    return answer(start_response, "kept")


def kept(environ, start_response):
    own = environ["lockgate.deadline"]
    before = own.remaining()
    reported = [deadline.extend(1000) for deadline in KEPT]
    return answer(start_response, f"{reported} {own.remaining() <= before}")


def mistaken(environ, start_response):
    problems = []
    for seconds in (-1, float("nan"), float("inf"), 1e300):
        try:
            environ["lockgate.deadline"].extend(seconds)
        except ValueError:
            problems.append(seconds)
    return answer(start_response, len(problems))


def has_deadline(environ, start_response):
    return answer(start_response, "lockgate.deadline" in environ)


def dawdle(environ, start_response):
    dawdle_a_second()
    return answer(start_response, "at last")


def dawdle_a_second():
    time.sleep(1)


ROUTES = {
    "/pid": pid,
    "/brief": brief,
    "/spin": spin,
    "/stubborn-spin": stubborn_spin,
    "/cleaned": cleaned,
    "/sleep": sleep,
    "/hold-interpreter": hold_interpreter,
    "/extend-and-hold-interpreter": extend_and_hold_interpreter,
    "/spin-below-many-files": spin_below_many_files,
    "/deadlock": deadlock,
    "/gated": gated,
    "/stream": stream,
    "/lengthless-stream": lengthless_stream,
    "/late-close": late_close,
    "/about-the-limit": about_the_limit,
    "/extend": extend,
    "/keep": keep,
    "/kept": kept,
    "/mistaken": mistaken,
    "/has-deadline": has_deadline,
    "/dawdle": dawdle,
}
