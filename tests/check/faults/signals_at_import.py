import signal
import sys

signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # finds: import-signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # finds: import-sigpipe
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # finds: import-sigchld


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
