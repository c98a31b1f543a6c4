"""Responses that a cache has to handle with care: the path chooses one."""

import threading
import time

calls = {}
lock = threading.Lock()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    with lock:
        calls[path] = call = calls.get(path, 0) + 1
    headers = [("Content-Type", "text/plain")]
    body = f"{path} {call} {environ.get('REMOTE_USER', '-')}".encode()
    if path == "/calls":
        body = repr(sorted(calls.items())).encode()
        headers.append(("Cache-Control", "no-store"))
    elif path == "/huge":
        headers += [("Cache-Control", "max-age=60"), ("Content-Length", str(10**15))]
        start_response("200 OK", headers)
        return iter([b"x"])
    elif path == "/short":
        headers += [("Cache-Control", "max-age=60"), ("Content-Length", "100")]
    elif path.startswith("/then-private"):
        first = call == 1
        headers.append(("Cache-Control", "max-age=1" if first else "private"))
        headers.append(("ETag", '"1"'))
        time.sleep(0 if first else 0.2)
    elif path.startswith("/slow-private"):
        headers.append(("Cache-Control", "no-store"))
        time.sleep(0.5)
    elif path.startswith("/gone"):
        lifetime = "max-age=1, stale-while-revalidate=600"
        headers.append(("Cache-Control", lifetime if call == 1 else "no-store"))
        if call > 1:
            start_response("404 Not Found", headers)
            return [b"gone"]
    elif path == "/stream":
        headers.append(("Cache-Control", "max-age=60"))
        start_response("200 OK", headers)
        return endless()
    elif path == "/stale":
        headers.append(("Cache-Control", "max-age=1, stale-if-error=600"))
    elif path == "/busy":
        time.sleep(2)
    else:
        headers.append(("Cache-Control", "max-age=60"))
    start_response("200 OK", headers)
    return [body]


def endless():
    for _ in range(200):
        time.sleep(0.05)
        yield b"piece\n"
