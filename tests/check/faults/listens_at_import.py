import socket

METRICS = socket.create_server(("127.0.0.1", 0))  # finds: import-listen


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
