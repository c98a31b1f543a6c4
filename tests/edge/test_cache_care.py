"""The cache beside clients that leave, calls that fail, and responses that break their word."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import eventually, request
from harness.crowd import descriptors
from harness.wire import Truncated, Wire


@pytest.fixture
def server(start):
    return start("cache_cases:app", "--cache", "4MiB", "--threads", "16")


def all_at_once(server, path, count):
    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        responses = list(pool.map(lambda _: server.get(path), range(count)))
    return responses, time.monotonic() - began


def test_room_is_not_reserved_for_what_is_only_announced(server):
    with pytest.raises(Truncated):
        server.get("/huge")
    assert server.get("/fine").status == 200
    assert server.get("/fine").header("Cache-Status").startswith("lockgate; hit")


def test_a_response_that_is_shorter_than_it_says_is_not_stored(server):
    for _ in range(2):
        with pytest.raises(Truncated):
            server.get("/short")
    assert b"('/short', 2)" in server.get("/calls").body


def test_requests_do_not_queue_up_behind_a_page_that_has_become_private(server):
    assert server.get("/then-private").status == 200
    time.sleep(1.1)  # Until it is stale.
    responses, took = all_at_once(server, "/then-private", 12)
    assert {response.status for response in responses} == {200}
    # One call, and then all others at once: not 12 × 0.2 s.
    assert took < 1.6, took


def test_waiting_for_another_request_is_not_waiting_in_the_queue(start):
    options = ("--cache", "4MiB", "--threads", "16", "--queue-timeout", "300ms")
    server = start("cache_cases:app", *options)
    responses, _ = all_at_once(server, "/slow-private", 10)
    assert {response.status for response in responses} == {200}


def test_a_page_that_is_gone_does_not_come_back(server):
    assert server.get("/gone").status == 200
    time.sleep(1.1)  # Until it is stale.
    # Stale, while the application is asked.
    server.get("/gone")
    eventually(lambda: server.get("/gone").status == 404, what="the new answer")
    assert server.get("/gone").status == 404


def test_a_client_that_leaves_frees_its_thread(start):
    server = start("cache_cases:app", "--cache", "4MiB", "--threads", "2")
    for _ in range(2):
        wire = Wire(server.address)
        wire.send(request("GET", "/stream"))
        wire.close()
    began = time.monotonic()
    assert server.get("/fine").status == 200
    assert time.monotonic() - began < 5


def test_clients_that_leave_while_they_wait_are_forgotten(start):
    server = start("cache_cases:app", "--cache", "4MiB", "--threads", "4")
    assert server.get("/fine").status == 200
    [worker] = server.workers()
    before = descriptors(worker)
    wires = [Wire(server.address) for _ in range(40)]
    for wire in wires:
        wire.send(request("GET", "/busy"))
    eventually(lambda: descriptors(worker) >= before + 40, what="all are connected")
    for wire in wires:
        wire.close()
    # The call that the first one has begun takes two seconds.
    eventually(lambda: descriptors(worker) < before + 10, within=1.5, what="they are forgotten")


def test_overload_is_an_error_for_stale_if_error(start):
    options = ("--cache", "4MiB", "--threads", "1", "--queue-timeout", "300ms")
    server = start("cache_cases:app", *options)
    assert server.get("/stale").status == 200
    time.sleep(1.1)  # Until it is stale.
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(server.get, "/busy")
        time.sleep(0.2)
        response = server.get("/stale")
        assert (response.status, response.body) == (200, b"/stale 1 -")
        assert "fwd=stale" in response.header("Cache-Status")
        assert busy.result().status == 200


def test_requests_for_an_upgrade_pass_by_the_cache(server):
    assert server.get("/fine").status == 200
    response = server.get("/fine", "Connection: upgrade", "Upgrade: websocket")
    assert response.body == b"/fine 2 -"
    assert server.get("/fine").body == b"/fine 1 -"
