"""What works on the main thread only, or on the thread that imported the application."""

import asyncio
import signal
import sqlite3

database = sqlite3.connect(":memory:")


def set_handler():
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def ask_database():
    database.execute("SELECT 1")


HANDLERS = {"/signal": set_handler, "/loop": asyncio.get_event_loop, "/sqlite": ask_database}


def app(environ, start_response):
    HANDLERS[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
