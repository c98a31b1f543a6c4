"""Answers that a cache may keep or not, as the query says; each call is counted for all processes.

/answer?FIELDS: `cc` (Cache-Control), `vary`, `tag` (Cache-Tag), `etag`, `cookie` (Set-Cookie),
`secret` (X-Secret), `type`, `size` (of the body), `status`, `sleep` (seconds), `gate` (a file that
ends the wait), `echo` (a field of the request that is shown), `of` (what is counted). The body is
JSON in its first line.
"""

import json
import os
import threading
import time
from pathlib import Path
from urllib.parse import parse_qsl

CALLS = Path(os.environ.get("CALLS", "calls"))
FILLER = "".join(f"{number} locks and gates, " for number in range(2000)).encode()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/answer"):
        return answer(environ, start_response, dict(parse_qsl(environ["QUERY_STRING"])))
    if path.startswith("/account"):
        return account(environ, start_response)
    if path == "/version":
        return version(environ, start_response)
    if path == "/purge":
        return purge(start_response, dict(parse_qsl(environ["QUERY_STRING"])))
    if path == "/events":
        return events(start_response)
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"NOT A FILE: " + path.encode("latin-1")]


def count(name):
    """Notes a call; gives how many there have been, of all processes."""
    with open(CALLS.with_name(f"{CALLS.name}.{name}"), "ab") as calls:
        calls.write(b".")
        calls.flush()
        return calls.tell()


def answer(environ, start_response, options):
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD", "POST"):
        start_response("405 Method Not Allowed", [("Content-Type", "text/plain")])
        return [b"no such method\n"]
    number = count(options.get("of", "answer"))
    if "gate" in options:
        wait_for(Path(options["gate"]), environ)
    time.sleep(float(options.get("sleep", 0)))
    shown = {
        "call": number,
        "pid": os.getpid(),
        "host": environ.get("HTTP_HOST"),
        "scheme": environ["wsgi.url_scheme"],
        "script": environ["SCRIPT_NAME"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "body": environ["wsgi.input"].read().decode("latin-1"),
        "echo": environ.get("HTTP_" + options.get("echo", "").upper().replace("-", "_")),
    }
    body = json.dumps(shown).encode() + b"\n"
    if size := int(options.get("size", 0)):
        filler = FILLER * (size // len(FILLER) + 1)
        body += filler[: max(0, size - len(body))]
    names = {
        "cc": "Cache-Control",
        "vary": "Vary",
        "tag": "Cache-Tag",
        "etag": "ETag",
        "cookie": "Set-Cookie",
        "secret": "X-Secret",
    }
    headers = [(field, options[name]) for name, field in names.items() if name in options]
    headers.append(("Content-Type", options.get("type", "text/plain; charset=utf-8")))
    headers.append(("Content-Length", str(len(body))))
    if "etag" in options and environ.get("HTTP_IF_NONE_MATCH") == options["etag"]:
        start_response("304 Not Modified", headers[:-2])
        return []
    start_response(f"{options.get('status', '200')} Chosen", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def wait_for(gate, environ):
    """GATE.started has the pid of the first call; the wait ends when GATE exists."""
    started = gate.with_name(gate.name + ".started")
    if not started.exists():
        writing = gate.with_name(f"{gate.name}.{os.getpid()}.{threading.get_ident()}")
        writing.write_text(str(os.getpid()))
        writing.rename(started)
    deadline = time.monotonic() + 60
    while not gate.exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def account(environ, start_response):
    """A page for one user, at every path below /account, without a word about caches."""
    body = f"account of {environ.get('HTTP_COOKIE', 'no user')}\n".encode()
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(body)))])
    return [body]


def version(environ, start_response):
    """What VERSION has, read before a pause: a purge in it must not keep the old one."""
    text = Path(os.environ["VERSION"]).read_bytes()
    count("version")
    time.sleep(0.02)
    headers = [
        ("Content-Type", "text/plain"),
        ("Content-Length", str(len(text))),
        ("Cache-Control", "public, max-age=3600"),
        ("Cache-Tag", "versions, all"),
    ]
    start_response("200 OK", headers)
    return [text]


def purge(start_response, options):
    """`url`, `tag` or `all`."""
    import lockgate

    if "all" in options:
        lockgate.cache.purge(everything=True)
    else:
        lockgate.cache.purge(**options)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Cache-Control", "no-store")])
    return [b"purged"]


def events(start_response):
    """An event at once, and the next ones after pauses."""
    start_response("200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")])
    for number in range(5):
        yield b"data: %d\n\n" % number
        time.sleep(0.3)
