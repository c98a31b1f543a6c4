"""Calls that keep the connection of their request, also beyond the end of the client's stream."""

import select
import time

import gates

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hold":
        return gates.app(environ, start_response)
    if path == "/hello" or "gunicorn.socket" not in environ:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"hello"]
    connection = environ["gunicorn.socket"]
    connection.sendall(HEAD)
    if path == "/never-reads":
        hang_up = select.poll()
        hang_up.register(connection, 0)
        hang_up.poll()
        return []
    while data := connection.recv(1000):
        connection.sendall(data)
    if path == "/writes-on":
        # Longer than a turn of the event loop, shorter than graceful_timeout.
        for number in range(10):
            connection.sendall(b"%d," % number)
            time.sleep(0.05)
    elif path == "/never-ends":
        while True:
            time.sleep(0.05)
    return []
