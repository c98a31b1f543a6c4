"""gates.py, with handlers of signals as applications and libraries install them at their import.

HANDLERS names the way. Each writes what it has found and done to the file that NOTE names.
"""

import os
import signal
import threading
import time
from pathlib import Path

WAY = os.environ.get("HANDLERS", "")
if WAY == "ddtrace.auto":
    import ddtrace.auto  # noqa: F401
elif WAY == "coverage":
    import coverage

    measured = coverage.Coverage(
        data_file=os.environ["NOTE"], data_suffix=True, auto_data=True, source=[os.getcwd()]
    )
    measured.set_option("run:sigterm", True)
    measured.start()

from gates import app as hold  # noqa: E402

found = {
    name: signal.getsignal(getattr(signal, f"SIG{name}"))
    for name in ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH")
}


def note(text):
    with Path(os.environ["NOTE"]).open("a") as notes:
        notes.write(f"{os.getpid()} {text}\n")


def chain(number, frame):
    note(f"handler {number}")
    before = found[signal.Signals(number).name.removeprefix("SIG")]
    if callable(before):
        before(number, frame)
    else:
        restore(number, frame)


def restore(number, frame):
    note(f"restored {number}")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def ignore(number, frame):
    note(f"ignored {number}")


HANDLER = {"chain": chain, "restore": restore, "ignore": ignore}.get(WAY)
if HANDLER:
    for name in ("TERM", "INT", "QUIT"):
        signal.signal(getattr(signal, f"SIG{name}"), HANDLER)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/found":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [" ".join(name for name, value in found.items() if callable(value)).encode()]
    if environ["PATH_INFO"] == "/raise":
        # To this thread, which is not the main one.
        signal.pthread_kill(threading.get_ident(), getattr(signal, environ["QUERY_STRING"]))
    if environ["PATH_INFO"] == "/fork":
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(child).encode()]
    return hold(environ, start_response)
