"""WebSockets with flask-sock, and applications that use the socket of a request themselves."""

import contextlib
import sys
import threading

from flask import Flask, request
from flask_sock import Sock

flask = Flask(__name__)
sock = Sock(flask)

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"


@flask.get("/")
def hello():
    return "hello"


@flask.get("/threads")
def threads():
    return str(threading.active_count())


@flask.get("/switch-interval")
def switch_interval():
    return str(sys.getswitchinterval())


@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())


@sock.route("/peer")
def peer(ws):
    ws.receive()
    ws.send(repr(request.environ["gunicorn.socket"].getpeername()))


@sock.route("/failing")
def failing(ws):
    ws.send("before")
    raise RuntimeError("the application has failed")


@sock.route("/flood")
def flood(ws):
    with contextlib.suppress(Exception):
        while True:
            ws.send("x" * 65536)


def raw(environ, start_response):
    """The end of the path says how the call ends."""
    connection = environ["gunicorn.socket"]
    connection.sendall(HEAD)
    while data := connection.recv(1000):
        connection.sendall(data)
    connection.sendall(b"the end")
    ending = environ["PATH_INFO"].rpartition("/")[2]
    kept.append(connection)
    if ending == "stop":
        raise StopIteration
    if ending == "reset":
        raise ConnectionResetError
    if ending == "fail":
        raise RuntimeError("the application has failed")
    if ending == "slow":
        return SlowlyClosed()
    if ending == "respond":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"dropped"]
    return []


class SlowlyClosed:
    def __iter__(self):
        return iter(())

    def close(self):
        threading.Event().wait(0.5)
        raise RuntimeError("close() has failed")


#: Sockets that outlive their requests.
kept = []


def late(environ, start_response):
    """Uses the socket of an earlier request, then of its own after the response has begun."""
    outcomes = []
    for connection in (kept[-1], environ["gunicorn.socket"]):
        if connection is not kept[-1]:
            start_response("200 OK", [("Content-Type", "text/plain")])(b"begun ")
        try:
            connection.send(b"x")
        except OSError as error:
            outcomes.append(type(error).__name__)
    return [",".join(outcomes).encode()]


def keys(environ, start_response):
    names = ("gunicorn.socket", "werkzeug.socket")
    body = ",".join(name for name in names if name in environ).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/keys":
        return keys(environ, start_response)
    if path.startswith("/raw/"):
        return raw(environ, start_response)
    if path == "/late":
        return late(environ, start_response)
    return flask(environ, start_response)
