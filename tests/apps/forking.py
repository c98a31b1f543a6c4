"""Forks processes as applications do, and reports how they ended."""

import json
import multiprocessing
import os
import signal
import subprocess
import time

# One that the application itself cares for: children keep it.
signal.signal(signal.SIGUSR2, lambda number, frame: os._exit(22))

children = {}


def app(environ, start_response):
    shown = PATHS[environ["PATH_INFO"]](environ)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode()]


def with_multiprocessing(environ):
    process = multiprocessing.get_context("fork").Process(
        target=time.sleep, args=(60,), daemon=True
    )
    process.start()
    children[process.pid] = process
    return process.pid


def with_os(environ):
    pid = os.fork()
    if pid == 0:
        try:
            time.sleep(60)
        finally:
            os._exit(0)
    return pid


def with_subprocess(environ):
    process = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: None)
    children[process.pid] = process
    return process.pid


def and_returns(environ):
    """A child that does not know where to stop: it returns into the server."""
    if pid := os.fork():
        return pid
    return "the child's answer"


def and_exits(environ):
    if pid := os.fork():
        return pid
    raise SystemExit(5)


def and_fails(environ):
    if pid := os.fork():
        return pid
    raise ValueError("raised in the child")


def and_logs(environ):
    if pid := os.fork():
        return pid
    environ["wsgi.errors"].write("written by a child\n")
    os._exit(0)


def wait(environ):
    return os.waitstatus_to_exitcode(os.waitpid(int(environ["QUERY_STRING"]), 0)[1])


PATHS = {
    "/multiprocessing": with_multiprocessing,
    "/fork": with_os,
    "/subprocess": with_subprocess,
    "/returns": and_returns,
    "/exits": and_exits,
    "/fails": and_fails,
    "/logs": and_logs,
    "/wait": wait,
    "/pid": lambda environ: os.getpid(),
}
