"""The twelve points where WSGI servers slip, one test each (some points have several facts)."""

import json
import re
import time

import pytest
from harness import Truncated, eventually, request


@pytest.fixture(scope="module")
def protocol(shared):
    return shared("protocol:app", "--threads", "4", "-e", "DEPLOYED=by the operator")


@pytest.fixture(scope="module")
def faults(shared):
    return shared("faults:app", "--threads", "2")


# 1
def test_headers_leave_only_with_the_first_bytes_that_are_not_empty(faults):
    response = faults.get("/empty-then-raise")
    assert response.status == 500
    assert b"raised" not in response.body
    faults.wait_for_log("raised after an empty piece")


# 2
@pytest.mark.parametrize("path", ["/short", "/short-generator", "/short-empty"])
def test_a_body_shorter_than_its_content_length_closes_the_connection(faults, path):
    with faults.connect() as wire:
        wire.send(request("GET", path) + request("GET", "/pid"))
        head = wire.head()
        if head.status == 200:
            assert head.length == 10
            rest = wire.rest()
            assert rest == (b"" if path == "/short-empty" else b"1234")
        else:
            # Nothing had been sent yet, so the failure could still get a 500.
            assert head.status == 500 and head.wants_close()
            wire.rest()
    assert faults.get("/pid").status == 200


def test_a_short_body_is_logged(faults):
    seen = len(faults.errors)
    with faults.connect() as wire:
        wire.send(request("GET", "/short"))
        wire.rest()
    line = faults.wait_for_log(r".* GET /short .*", since=seen)
    assert re.search(r"shorter than its Content-Length: announced 10 bytes, sent 4\b", line), line


# 3
@pytest.mark.parametrize(
    "path",
    [
        "/long",
        "/long-generator",
        "/long-written",
        # From 4,096 bytes on pieces are not copied.
        "/long-large",
        "/long-large-generator",
        "/long-large-written",
    ],
)
def test_a_body_longer_than_its_content_length_is_cut(faults, path):
    with faults.connect() as wire:
        wire.send(request("GET", path))
        response = wire.response()
        assert (response.status, response.body) == (200, b"1234")
        if not response.wants_close():
            wire.send(request("GET", "/pid", "Connection: close"))
            assert wire.response().body.isdigit()
        wire.expect_close()


def test_a_cut_body_is_logged(faults):
    seen = len(faults.errors)
    faults.get("/long")
    line = faults.wait_for_log(r".* GET /long .*", since=seen)
    assert re.search(r"longer than .*announced 4 bytes, given 10, sent 4\b", line), line


# 4
def test_a_one_element_list_gets_a_content_length(protocol):
    response = protocol.get("/hello")
    assert (response.framing, response.header("Content-Length")) == ("length", "5")


def test_an_empty_list_gets_a_content_length_of_zero(protocol):
    response = protocol.get("/empty-list")
    assert (response.framing, response.header("Content-Length")) == ("length", "0")


# 5
def test_start_response_twice_without_exc_info_is_an_error(faults):
    assert faults.get("/start-twice").status == 500


def test_exc_info_before_the_headers_replaces_them(protocol):
    response = protocol.get("/replaced")
    assert (response.status, response.reason, response.body) == (503, "Replaced", b"replaced")
    assert response.header("X-First") is None and response.header("X-Second") == "yes"


def test_exc_info_after_an_empty_piece_still_replaces_the_headers(protocol):
    assert protocol.get("/replaced-after-empty").status == 503


def test_exc_info_after_the_headers_raises_it_again(faults):
    with faults.connect() as wire:
        wire.send(request("GET", "/late-exc-info"))
        assert wire.head().status == 200
        assert wire.chunk() == b"already sent"
        with pytest.raises(Truncated):
            wire.chunk()
    faults.wait_for_log("ValueError: noticed too late")


# 6
@pytest.mark.parametrize(
    ("path", "name"),
    [("/closing", "normal"), ("/closing-raise", "raised"), ("/closing-bad-status", "text")],
)
def test_close_is_called_on_every_end(protocol, path, name):
    with protocol.connect() as wire:
        wire.send(request("GET", path, "Connection: close"))
        wire.rest()
    assert_closed(protocol, name)


def test_close_is_called_when_the_client_asked_for_the_head_alone(protocol):
    assert protocol.get("/closing-head", method="HEAD").body == b""
    assert_closed(protocol, "head")


def test_close_is_called_when_the_client_leaves(protocol):
    with protocol.connect() as wire:
        wire.send(request("GET", "/closing-endless"))
        wire.head()
        wire.chunk()
    assert_closed(protocol, "endless")


def test_an_exception_in_close_affects_neither_the_connection_nor_the_log(faults):
    with faults.connect() as wire:
        wire.send(request("GET", "/raise-in-close"))
        assert wire.response().body == b"whole"
    faults.wait_for_log("raised in close")
    assert faults.get("/pid").status == 200


# 7: see test_input.py for the reading methods
def test_an_unread_body_does_not_desynchronise_the_connection(shared):
    server = shared("bodies:app")
    for size in (1, 1000, 300_000):
        with server.connect() as wire:
            # The body looks like a request, which is what a desynchronised server would answer.
            body = (request("GET", "/smuggled") * (size // 10 + 1))[:size]
            wire.send(request("POST", "/ignore", body=body))
            assert json.loads(wire.response().body)["seen"] == "nothing"
            wire.send(request("POST", "/some", "Connection: close", body=b"abcdef"))
            assert json.loads(wire.response().body)["seen"] == "abc"
            wire.expect_close()


# 8
def test_hop_by_hop_headers_of_the_application_are_dropped(faults):
    with faults.connect() as wire:
        wire.send(request("GET", "/hop-by-hop") + request("GET", "/pid", "Connection: close"))
        response = wire.response()
        assert (response.framing, response.body) == ("length", b"body")
        assert response.header("X-Kept") == "yes"
        for name in ("Keep-Alive", "Proxy-Authenticate", "TE", "Trailer", "Upgrade"):
            assert response.header(name) is None, name
        assert wire.response().body.isdigit()
        wire.expect_close()


def test_a_wish_of_the_application_to_close_is_honoured(faults):
    with faults.connect() as wire:
        wire.send(request("GET", "/connection-close"))
        response = wire.response()
        assert response.body == b"bye" and response.wants_close()
        wire.expect_close()


# 9: see test_start_response.py for the table
def test_the_status_is_three_digits_and_a_reason_as_the_application_said(protocol):
    response = protocol.get("/headers?X-A=1")
    assert (response.status, response.reason) == (200, "Fine And Dandy")


# 10
@pytest.mark.parametrize("path", ["/streamed-through-a-gate", "/written-through-a-gate"])
def test_a_piece_is_transmitted_before_the_next_is_asked_for(protocol, path):
    with protocol.connect() as wire:
        wire.send(request("GET", f"{path}?{path[1:]}", "Connection: close"))
        wire.head()
        assert wire.chunk() == b"before"
        assert protocol.get(f"/open?{path[1:]}").body == b"open"
        assert wire.chunk() == b"after"
        assert wire.chunk() == b""
        wire.expect_close()


def test_a_piece_before_a_pause_is_sent_without_delay(protocol):
    # The kernel, which gathers pieces, sends them by itself after 200 ms: 40 times that is 8 s.
    deadline = time.monotonic() + 4
    for turn in range(40):
        # Where most calls wait, the event loop is taken from each of them at once.
        for _ in range(4):
            protocol.get("/hello")
        with protocol.connect() as wire:
            wire.send(request("GET", f"/streamed-through-a-gate?pause-{turn}", "Connection: close"))
            wire.head()
            assert wire.chunk() == b"before"
            protocol.get(f"/open?pause-{turn}")
            assert wire.chunk() == b"after"
    assert time.monotonic() < deadline


def test_a_generator_runs_on_one_thread_to_its_end(protocol):
    assert protocol.get("/thread-of-each-step").body == b".....1"


# 11
def test_variables_of_the_deployer_reach_the_application(protocol):
    assert json.loads(protocol.get("/environ").body)["os.environ"] == "by the operator"


# 12
def test_there_is_a_single_threaded_mode(shared):
    server = shared("protocol:app", "--threads", "1")
    shown = json.loads(server.get("/environ").body)
    assert (shown["wsgi.multithread"], shown["wsgi.multiprocess"]) == (False, False)


def assert_closed(server, name):
    eventually(
        lambda: name in json.loads(server.get("/closed").body),
        within=5,
        what=f"close() of {name}",
    )
    assert json.loads(server.get("/closed").body).count(name) == 1
