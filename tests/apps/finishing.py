"""Starts work that outlives its request, in the ways that Python has for it.

Each job leaves a line in the file NOTES when it begins, and one when it has ended. IMPORT names
kinds of work that the import starts.
"""

import atexit
import functools
import multiprocessing
import os
import subprocess
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

NOTES = Path(os.environ["NOTES"])
CONTEXT = multiprocessing.get_context(os.environ.get("CONTEXT", "fork"))


@functools.cache
def executor(kind):
    """Made at its first use: an import in a fork server would make one for all workers."""
    if kind == "threads":
        return ThreadPoolExecutor(2)
    return ProcessPoolExecutor(2, mp_context=CONTEXT)


def note(text):
    with NOTES.open("a") as notes:
        notes.write(f"{text}\n")


def job(name, seconds):
    note(f"{name} begins")
    time.sleep(seconds)
    note(f"{name} ended")


def start_threads(name, seconds):
    executor("threads").submit(job, name, seconds)


def start_processes(name, seconds):
    executor("processes").submit(job, name, seconds)


def start_thread(name, seconds):
    threading.Thread(target=job, args=(name, seconds), name=f"thread-{name}").start()


def start_process(name, seconds):
    CONTEXT.Process(target=job, args=(name, seconds)).start()


def start_daemon(name, seconds):
    """A process that multiprocessing terminates at exit."""
    CONTEXT.Process(target=job, args=(name, 600), daemon=True).start()
    while f"{name} begins" not in NOTES.read_text():
        time.sleep(0.01)
    note(f"{name} ended")


def start_exit(name, seconds):
    atexit.register(job, name, seconds)


def start_endless(name, seconds):
    threading.Thread(target=wait_for_ever, name=name).start()


def start_program(name, seconds):
    note(f"{name} is {subprocess.Popen(['sleep', '600']).pid}")


def start_hold(name, seconds):
    """The request itself does not end."""
    note(f"{name} begins")
    wait_for_ever()


def wait_for_ever():
    threading.Event().wait()


START = {name[6:]: start for name, start in list(globals().items()) if name.startswith("start_")}


def app(environ, start_response):
    """`?KIND,NAME,SECONDS`, with `&` several; answers with the pid at once."""
    for part in filter(None, environ["QUERY_STRING"].split("&")):
        kind, name, seconds = part.split(",")
        START[kind](name, float(seconds))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


for kind in filter(None, os.environ.get("IMPORT", "").split(",")):
    if kind == "fail":
        raise RuntimeError("this import fails")
    START[kind](kind, 0.1)
