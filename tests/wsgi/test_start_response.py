"""start_response: what it refuses, what it passes on, and what write() does."""

import importlib.util
import re
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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("value-crlf", 'header "X-A": control byte in a header value'),
        ("value-nul", 'header "X-A": control byte in a header value'),
        ("value-not-latin-1", 'the value of header "X-A" has a character outside latin-1'),
        ("value-bytes", 'the value of header "X-A" must be a str, not bytes'),
        ("value-none", 'the value of header "X-A" must be a str, not NoneType'),
        ("name-crlf", r'header "X-A\x0d\x0aX-Injected: name": a header name is not a token'),
        ("name-not-latin-1", r'header "X-\xe2\x98\x83": a header name is not a token'),
        ("name-bytes", "the name of header 1 must be a str, not bytes"),
        ("pair-of-three", "header 1 must be a tuple of a name and a value, and has a length of 3"),
        ("string-pair", "header 1 must be a tuple of a name and a value, not str"),
        ("length-text", 'header "Content-Length": Content-Length is not a plain number'),
        ("lengths-differ", 'header "Content-Length": two Content-Length headers that differ'),
        ("none", "headers must be a list, not NoneType"),
        ("mapping", "header 1 must be a tuple of a name and a value, not str"),
        ("second-of-two", 'the value of header "X-A" has a character outside latin-1'),
    ],
)
def test_a_refused_header_is_named_in_the_log_and_its_value_is_not(faults, name, message):
    seen = len(faults.errors)
    faults.get(f"/bad-headers?{name}")
    line = faults.wait_for_log(rf"(TypeError|ValueError): .*{re.escape(message)}\n", since=seen)
    assert "secret" not in line and "three" not in line


@pytest.mark.parametrize("name", FAULTS.TOLERATED)
def test_requests_that_gunicorn_and_waitress_accept_are_accepted(faults, name):
    with faults.connect() as wire:
        wire.send(request("GET", f"/tolerated?{name}") + request("GET", "/pid"))
        response = wire.response()
        assert (response.status, response.body) == (200, b"abc")
        assert response.reason in ("OK", "")
        assert response.header("X-A") == "a" and response.header("X-B") in ("b", None)
        assert response.header("Content-Length") == "3"
        assert wire.response().body.isdigit()


def test_headers_that_call_start_response_are_a_clean_500(faults):
    assert_clean_500(faults, "/headers-that-start-again")
    faults.wait_for_log(r"AssertionError: start_response\(\) was called a second time")


@pytest.mark.parametrize("name", ["value-crlf", "none", "string-pair", "lengths-differ"])
def test_headers_that_are_refused_with_exc_info_leave_no_head_at_all(faults, name):
    assert_clean_500(faults, f"/bad-headers-with-exc-info?{name}")


@pytest.mark.parametrize(
    ("wish", "version", "connection"),
    [
        ("upgrade", "1.1", "upgrade"),
        ("close", "1.1", "close, upgrade"),
        ("upgrade", "1.0", "close, upgrade"),
    ],
)
def test_a_426_says_which_protocol_would_do(faults, wish, version, connection):
    with faults.connect() as wire:
        wire.send(request("GET", f"/upgrade-required?{wish}", version=version))
        response = wire.response()
        assert (response.status, response.header("Upgrade")) == (426, "websocket")
        assert response.header("Connection") == connection
        if connection == "upgrade":
            wire.send(request("GET", "/pid", "Connection: close"))
            assert wire.response().body.isdigit()
        wire.expect_close()


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


@pytest.mark.parametrize("function", ["start_response", "write", "client_disconnected"])
def test_a_weak_reference_from_another_request_leads_to_nothing(protocol, function):
    index = ["start_response", "write", "client_disconnected"].index(function)
    with protocol.connect() as wire:
        wire.send(request("GET", f"/keep-weak-references?{index}"))
        assert wire.response().body == b"builtin_function_or_method"
        wire.send(request("GET", "/follow-weak-references", "Connection: close"))
        assert wire.response().body == b"[None]"
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
