"""start_response: what it refuses, what it passes on, and what write() does."""

import importlib.util
import sys

import pytest
from harness import APPS, request


def load(name):
    """The module itself, for its tables."""
    spec = importlib.util.spec_from_file_location(name, APPS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


FAULTS = load("faults")


@pytest.fixture(scope="module")
def faults(shared):
    return shared("faults:app", "--threads", "2")


@pytest.fixture(scope="module")
def protocol(shared):
    return shared("protocol:app", "--threads", "1")


@pytest.mark.parametrize("name", FAULTS.BAD_STATUS)
def test_a_bad_status_is_a_clean_500(faults, name):
    assert_clean_500(faults, f"/bad-status?{name}")


@pytest.mark.parametrize("name", FAULTS.BAD_HEADERS)
def test_bad_headers_are_a_clean_500(faults, name):
    assert_clean_500(faults, f"/bad-headers?{name}")


def test_the_reason_for_a_refused_header_is_in_the_log(faults):
    seen = len(faults.errors)
    faults.get("/bad-headers?value-crlf")
    # The last line of the traceback: the lines before it name the request and the source.
    reason = faults.wait_for_log(r"(?<=\nValueError: ).*", since=seen)
    assert "control byte" in reason and "header" in reason


def test_write_goes_out_before_the_returned_body(protocol):
    assert protocol.get("/written").body == b"written twice and returned"


def test_start_response_may_come_at_the_first_iteration(protocol):
    response = protocol.get("/late-start")
    assert (response.status, response.body) == (201, b"late")
    assert response.header("X-Late") == "yes"


def test_repeated_and_latin_1_headers_are_sent_as_given(shared):
    response = shared("wire_app:app").get("/cookies")
    assert response.all("Set-Cookie") == ["a=1", "b=2"]
    assert response.header("X-Reply") == "r\xe9"


def test_several_pieces_make_one_body(protocol):
    assert protocol.get("/pieces").body == b"one two three"
    assert protocol.get("/bytearray").body == b"octets"


def test_a_start_response_kept_from_another_request_changes_nothing(protocol):
    with protocol.connect() as wire:
        wire.send(request("GET", "/keep-start-response"))
        assert wire.response().body == b"kept"
        for _ in range(2):
            wire.send(request("GET", "/use-kept-start-response"))
            response = wire.response()
            assert (response.status, response.reason) == (200, "OK")
            assert (response.body, response.header("X-Own")) == (b"own 2", "yes")
            assert response.header("X-Stale") is None
        wire.send(request("GET", "/hello", "Connection: close"))
        assert wire.response().body == b"hello"
        wire.expect_close()


def assert_clean_500(server, target):
    """The client learns nothing of the fault; the connection stays in step."""
    with server.connect() as wire:
        wire.send(request("GET", target))
        response = wire.response()
        assert response.status == 500, response
        assert response.header("X-Injected") is None and response.header("X-A") is None
        assert b"Injected" not in response.body and b"secret" not in response.body
        assert b"Traceback" not in response.body
        if response.wants_close():
            wire.expect_close()
        else:
            wire.send(request("GET", "/pid", "Connection: close"))
            assert wire.response().body.isdigit()
            wire.expect_close()
