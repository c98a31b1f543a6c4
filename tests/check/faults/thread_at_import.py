import threading
import time


def refresh():
    while True:
        time.sleep(60)


threading.Thread(target=refresh, daemon=True).start()  # finds: import-thread


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
