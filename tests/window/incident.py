"""A seeded incident: a Flask application whose next version asks a slow peer at port 5432."""

import random
import socket
import threading
import time

from harness.process import free_port

BEFORE = """
from flask import Flask

app = Flask(__name__)


@app.get("/")
def home():
    return "hello"


@app.get("/orders/<int:number>")
def show_order(number):
    return f"order {number}"
"""
AFTER = """
import socket

from flask import Flask

app = Flask(__name__)


def find_order(number):
    with socket.create_connection(("HOST", PORT)) as database:
        database.sendall(b"SELECT")
        return database.recv(100)  # the slow line


@app.get("/")
def home():
    return "hello"


@app.get("/orders/<int:number>")
def show_order(number):
    return find_order(number)
"""


class SlowPeer:
    """Answers after `delay` seconds, at port 5432 of a loopback address of its own.

    The address is a random one: other tests of this machine may run at the same time.
    """

    def __init__(self, delay):
        self.delay = delay
        host = f"127.0.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        self.listener = socket.create_server((host, 5432))
        self.address = f"{host}:5432"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Timer(self.delay, self._answer, [client]).start()

    def _answer(self, client):
        with client:
            client.recv(100)
            client.sendall(b"row")

    def close(self):
        self.listener.close()


class Incident:
    """A server under a light load, which becomes slow with a reload."""

    def __init__(self, start, directory, delay=1.6):
        self.directory = directory
        (directory / "shop.py").write_text(BEFORE)
        self.peer = SlowPeer(delay)
        self.port = free_port()
        self.admin_port = free_port()
        self.server = start(
            "shop:app",
            "--admin-bind",
            f"127.0.0.1:{self.admin_port}",
            "--threads",
            "8",
            workers=2,
            chdir=directory,
        )
        self.url = f"http://127.0.0.1:{self.admin_port}/"
        self.is_over = threading.Event()
        self.clients = [threading.Thread(target=self._load, args=(n,)) for n in range(8)]
        for client in self.clients:
            client.start()

    def _load(self, number):
        while not self.is_over.wait(0.15):
            number += 8
            try:
                self.server.get(f"/orders/{number}")
            except OSError:
                continue

    def begin(self):
        """The next version, and the moment in which it was there."""
        host, port = self.peer.address.split(":")
        text = AFTER.replace("HOST", host).replace("PORT", port)
        (self.directory / "shop.py").write_text(text)
        self.server.signal(1)
        self.server.wait_for_log("reload.*(done|complete|took over|serve)")
        return time.time()

    def end(self):
        self.is_over.set()
        for client in self.clients:
            client.join()
        self.peer.close()
