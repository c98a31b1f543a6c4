"""Threads, processes and contexts as the application sees them."""

import json

import pytest
from harness import request


@pytest.fixture(scope="module")
def single(shared):
    return shared("protocol:app", "--threads", "1")


@pytest.mark.parametrize(
    ("workers", "threads", "expected"),
    [(1, "1", (False, False)), (1, "3", (True, False)), (2, "1", (False, True))],
)
def test_the_flags_describe_how_the_application_is_run(shared, workers, threads, expected):
    server = shared("protocol:app", "--threads", threads, workers=workers)
    environ = json.loads(server.get("/environ").body)
    assert (environ["wsgi.multithread"], environ["wsgi.multiprocess"]) == expected


def test_a_waiting_call_does_not_hold_up_others(shared):
    server = shared("protocol:app", "--threads", "4")
    with server.connect() as first, server.connect() as second:
        first.send(request("GET", "/held?concurrency"))
        second.send(request("GET", "/held?concurrency"))
        assert server.get("/hello").body == b"hello"
        assert server.get("/open?concurrency").body == b"open"
        assert first.response().body == b"opened"
        assert second.response().body == b"opened"


def test_every_request_has_a_fresh_context(single):
    with single.connect() as wire:
        for value in ("one", "two"):
            wire.send(request("GET", f"/remember?{value}"))
            assert wire.response().body == f"nothing then {value}".encode()


def test_the_context_of_a_request_lasts_as_long_as_its_body(single):
    assert single.get("/remember-in-stream").body == b"set in the call"
    assert single.get("/remember?x").body == b"nothing then x"


@pytest.mark.parametrize(
    "data",
    [
        request("GET", "/validated", "Connection: close"),
        request("POST", "/validated", "Connection: close", body=b"ab\ncd\nef"),
        request("POST", "/validated?q", "Content-Type: text/plain", "Connection: close", body=b""),
    ],
)
def test_wsgiref_validate_reports_no_error(single, data):
    response = single.exchange(data)
    assert (response.status, response.body[-1:]) == (200, b"!"), single.errors


def test_the_validator_is_content_with_head(single):
    assert single.get("/validated", method="HEAD").status == 200


@pytest.mark.parametrize("threads", ["2", "4", "auto"])
@pytest.mark.parametrize("path", ["/held", "/streamed-through-a-gate"])
def test_a_request_that_comes_on_a_connection_during_its_call_is_called_after_it(
    shared, threads, path
):
    server = shared("protocol:app", "--threads", threads)
    for turn in range(5):
        gate = f"during-{threads}-{path[1:]}-{turn}"
        with server.connect() as wire:
            wire.send(request("GET", f"{path}?{gate}"))
            # Served by another thread: the call has outlived its turn.
            assert server.get("/hello").body == b"hello"
            wire.send(request("GET", "/hello"))
            # The event loop has seen the request by the time that it answers a later one.
            assert server.get("/hello").body == b"hello"
            server.get(f"/open?{gate}")
            assert wire.response().body in (b"opened", b"beforeafter")
            assert wire.response().body == b"hello"
