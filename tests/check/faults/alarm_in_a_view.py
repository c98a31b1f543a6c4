import signal


def expired(number, frame):
    raise TimeoutError


def app(environ, start_response):
    signal.signal(signal.SIGALRM, expired)  # finds: main-thread
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
