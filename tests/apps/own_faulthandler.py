"""An application with a faulthandler and a signal of its own. QUERY_STRING: where stacks go."""

import ctypes
import faulthandler
import os
import signal

CAUGHT = []
FILES = []
signal.signal(signal.SIGRTMAX - 3, lambda *_: CAUGHT.append(1))


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/register":
        FILES.append(open(environ["QUERY_STRING"], "w"))
        faulthandler.enable(file=FILES[0])
        faulthandler.register(signal.SIGUSR2, file=FILES[0], all_threads=True)
    elif path == "/show":
        os.kill(os.getpid(), signal.SIGUSR2)
    elif path == "/hold-interpreter":
        ctypes.PyDLL(None).sleep(600)
    body = str(len(CAUGHT)).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
