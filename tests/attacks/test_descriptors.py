"""A process without descriptors waits and does not spin, and goes on when there are some."""

import time

import pytest
from harness import Crowd, context_switches, descriptors, eventually, request

LIMIT = 96


@pytest.fixture
def poor(alone):
    """A server whose processes may have few descriptors."""
    return lambda app: alone(app=app, prefix=["sh", "-c", f'ulimit -n {LIMIT}; exec "$@"', "sh"])


def switches_in_a_second(pid):
    before, began = context_switches(pid), time.monotonic()
    eventually(lambda: time.monotonic() >= began + 1)
    return context_switches(pid) - before


def test_connections_leave_descriptors_for_files_and_the_others_wait(poor, still_serves):
    server = poor("wire_app:app")
    (worker,) = server.workers()
    with Crowd(server, 2 * LIMIT) as crowd:
        server.wait_for_log(r"\d+ connections are open, as many as the number of descriptors")
        assert descriptors(worker) < LIMIT
        # It waits for a connection to end, and only looks up now and then.
        assert switches_in_a_second(worker) < 100
        # Those that came in are served, also with a body that needs a file.
        crowd.wires[0].send(request("POST", "/file", body=b"x" * 2_000_000))
        assert crowd.wires[0].response().status == 200
    still_serves(server)
    assert server.errors.count("connections are open") == 1


def test_no_descriptor_at_all_is_waited_out_without_spinning(poor, still_serves):
    server = poor("slow_and_hoarding:app")
    (worker,) = server.workers()
    with server.connect() as kept:
        kept.send(request("GET", "/hoard?0"))
        assert int(kept.response().body) > 0
        with Crowd(server, 20, request("GET", "/waiting", "Connection: close")) as crowd:
            server.wait_for_log(r"cannot accept a connection: Too many open files")
            assert switches_in_a_second(worker) < 100
            assert server.errors.count("cannot accept") == 1
            kept.send(request("GET", "/let-go"))
            assert kept.response().status == 200
            # Whoever waited is served as soon as there is a descriptor.
            assert all(answer.endswith(b"GET /waiting ") for answer in crowd.answers())
    still_serves(server)
