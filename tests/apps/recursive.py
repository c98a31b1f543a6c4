"""Stacks that grow and shrink all the time, and so change while they are read from outside."""

import time

DEPTHS = [5, 40, 81, 120, 3, 77, 78, 79, 80, 82, 160]


def app(environ, start_response):
    until = time.perf_counter() + 0.01
    while time.perf_counter() < until:
        total = sum(go_down(depth) for depth in DEPTHS)
    body = str(total).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def go_down(levels):
    return 1 + go_down(levels - 1) if levels else 0
