"""Stacks of all kinds: views that stay in a known one, and one in which everything changes."""

import gc
import os
import random
import socket
import sys
import threading
import time
import zlib


class Käse:
    def 名前(self, depth, last):
        if depth:
            return self.名前(depth - 1, last)
        return sum(self.generator(last))

    def generator(self, last):
        try:
            raise ValueError
        except ValueError:
            yield sorted(
                [1],
                key=lambda one: executed(last),
            )[0]


def executed(last):
    exec(compile("\n\ncall()", "<gemacht ü>", "exec"), {"call": last})
    return 0


def sleep(query):
    Käse().名前(3, lambda: time.sleep(float(query)))


def receive(query):
    """Waits for a peer that says nothing, at first without and then with a timeout."""
    port, seconds = query.split(",")
    with socket.create_connection(("127.0.0.1", int(port))) as peer:
        if seconds != "0":
            peer.settimeout(float(seconds))
        try:
            peer.recv(1)
        except TimeoutError:
            pass


def child(query):
    pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", query)
    os.waitpid(pid, 0)


def deep(query):
    if int(query):
        return deep(int(query) - 1)
    return time.sleep(2.5)


def recurse(depth):
    return 1 + recurse(depth - 1) if depth else 0


def inner(number):
    try:
        yield number
        raise KeyError
    except KeyError:
        yield from range(number % 7)


def execute():
    for number in range(4):
        name = f"größe_{number}_{random.randrange(9)}"
        space = {}
        source = "\n" * number + f"def {name}(a):\n return [one for one in range(a)]\n{name}(9)"
        exec(compile(source, f"<made {name}>", "exec"), space)


def start_threads():
    work = [lambda: recurse(200), execute, lambda: sum(map(sum, map(inner, range(20))))]
    threads = [threading.Thread(target=one) for one in work * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


CHANGES = [
    lambda: recurse(random.randrange(1, 700)),
    lambda: sum(map(sum, map(inner, range(100)))),
    lambda: type("C", (), {"f": property(lambda self: recurse(5))})().f,
    lambda: zlib.compress(bytes(50_000)),
    execute,
    start_threads,
    gc.collect,
]


def change(query):
    until = time.monotonic() + float(query)
    while time.monotonic() < until:
        random.choice(CHANGES)()


VIEWS = {
    "/sleep": sleep,
    "/receive": receive,
    "/child": child,
    "/deep": deep,
    "/change": change,
}


def app(environ, start_response):
    sys.setrecursionlimit(10_000)
    VIEWS[environ["PATH_INFO"]](environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done\n"]
