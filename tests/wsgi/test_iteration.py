"""What an application may do while its body is iterated over, and when the iteration ends."""

import json
import socket

import pytest
from harness import Truncated, eventually, request


@pytest.fixture(scope="module", params=["1", "4"])
def server(shared, request):
    return shared("iterating:app", "--threads", request.param)


def refusals(server):
    return json.loads(server.get("/refusals").body)


def wait_until_ended(server, name):
    eventually(
        lambda: name in json.loads(server.get("/ended").body), within=20, what=f"the end of {name}"
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/mixed", b"one two three four five six "),
        ("/only-written", b"0 1 2 "),
        ("/written-in-iter", b"one two"),
        ("/large", b"".join(b"%03d" % number * 33_333 + b"|" for number in range(40))),
    ],
)
def test_write_during_the_iteration_sends_bytes_in_the_order_of_the_calls(server, path, body):
    with server.connect() as wire:
        for version, framing in [("1.1", "chunked"), ("1.0", "close")]:
            wire.send(request("GET", path, version=version))
            response = wire.response()
            assert (response.status, response.framing) == (200, framing)
            assert response.body == body


@pytest.mark.parametrize(
    ("announced", "body", "is_short"),
    [
        (9, b"123456789", False),
        (8, b"12345678", False),
        (5, b"12345", False),
        (10, b"123456789", True),
    ],
)
def test_write_during_the_iteration_counts_against_the_content_length(
    server, announced, body, is_short
):
    seen = len(server.errors)
    with server.connect() as wire:
        wire.send(request("GET", f"/counted?{announced}"))
        assert wire.head().length == announced
        if is_short:
            assert wire.rest() == body
        else:
            assert wire._take(announced) == body
            wire.send(request("GET", "/refusals", "Connection: close"))
            assert wire.response().status == 200
            wire.expect_close()
    if announced != 9:
        server.wait_for_log(f"announced {announced} bytes, (given|sent) 9|given [69]", since=seen)
    else:
        assert "announced" not in server.errors[seen:]


def test_a_failure_after_a_write_breaks_the_response_off(server):
    with server.connect() as wire:
        wire.send(request("GET", "/failing"))
        wire.head()
        assert wire.chunk() == b"begun"
        with pytest.raises(Truncated):
            wire.chunk()
    server.wait_for_log("ValueError: raised after a write in the iteration")


def test_a_client_that_leaves_ends_an_iteration_that_writes(server):
    with server.connect() as wire:
        wire.send(request("GET", "/endless"))
        wire.head()
        wire.chunk()
    wait_until_ended(server, "endless")


def test_write_is_refused_in_close(server):
    assert server.get("/in-close").body == b"whole"
    reported = eventually(lambda: refusals(server), what="a refusal")
    assert len(reported) == 1 and "after the response's body had ended" in reported[0]


def test_write_is_refused_after_its_request(server):
    for number in range(3):
        assert server.get("/later").body == b"%d" % number
    reported = refusals(server)
    assert len(reported) == 3 and all(
        "after the response's body had ended" in text for text in reported
    )


def test_write_is_refused_on_another_thread_than_the_one_that_iterates(server):
    assert server.get("/other-thread").body == b"one two"
    [reported] = refusals(server)
    assert "on another thread" in reported


def test_an_endless_body_ends_at_its_content_length(server):
    with server.connect() as wire:
        wire.send(request("GET", "/endless-announced"))
        assert wire.response().body == b"1234512345"
        wire.send(request("GET", "/refusals", "Connection: close"))
        assert wire.response().status == 200
    wait_until_ended(server, "endless-announced")
    server.wait_for_log("longer than its Content-Length: announced 10 bytes, given 15")


@pytest.mark.parametrize("way", ["closed", "half-closed", "reset"])
def test_a_body_of_empty_pieces_ends_when_its_client_has_gone(start, tmp_path, way):
    server = start("iterating:app", "--threads", "1")
    with server.connect() as wire:
        wire.send(request("GET", f"/empty?{tmp_path / 'never'}"))
        # A reset that overtakes the call takes the request along.
        eventually((tmp_path / "never.begun").exists, what="the call has begun")
        if way == "half-closed":
            wire.finish_sending()
            assert wire.response().status == 503
        elif way == "reset":
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_until_ended(server, "empty")
    assert "Error handling request" not in server.errors


def test_a_client_that_waits_gets_what_comes_after_empty_pieces(server, tmp_path):
    gate = tmp_path / "gate"
    with server.connect() as wire:
        wire.send(request("GET", f"/empty?{gate}"))
        gate.touch()
        assert wire.response().body == b"it is there"


def test_a_file_after_a_write_ends_at_the_content_length(server):
    with server.connect() as wire:
        wire.send(request("GET", "/file-after-write"))
        assert wire.response().body == b"12345abcde"
        wire.send(request("GET", "/refusals", "Connection: close"))
        assert wire.response().status == 200
        wire.expect_close()


def test_a_failure_before_anything_of_a_response_has_left_is_one_clean_500(server):
    with server.connect() as wire:
        wire.send(request("GET", "/file-that-fails") + request("GET", "/refusals"))
        response = wire.response()
        assert (response.status, response.header("X-Begun")) == (500, None)
        assert response.body == b"500 Internal Server Error\n"
        assert wire.response().status == 200
    server.wait_for_log("ValueError: raised at the second read")
