import socket

STATSD = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # finds: import-socket
STATSD.connect(("127.0.0.1", 8125))


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
