"""A shop of several hosts: it writes down each order, and is slow while a file says so.

ORDERS is the file with a line for each POST; ORDERS_SLOW, when it exists, has the seconds that
each call takes.
"""

import os
import time
from pathlib import Path

ORDERS = os.environ["ORDERS"]
SLOW = Path(os.environ["ORDERS_SLOW"])
HOST = os.environ["ORDERS_HOST"]


def app(environ, start_response):
    if SLOW.exists():
        time.sleep(float(SLOW.read_text() or 0))
    if environ["REQUEST_METHOD"] == "POST":
        order = environ["wsgi.input"].read().decode("ascii")
        # One write of one line: lines of several threads and workers do not mix.
        with open(ORDERS, "ab", buffering=0) as file:
            file.write(f"{order}\n".encode())
    body = f"{HOST} {environ['REMOTE_ADDR']}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
