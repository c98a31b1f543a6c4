"""An application that fails costs one request, is logged, and never looks like success."""

import re

import pytest
from harness import Truncated, request


@pytest.fixture(scope="module")
def server(shared):
    return shared("faults:app", "--threads", "2")


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/raise-before", "ValueError: raised before start_response"),
        ("/raise-after-start", "ValueError: raised after start_response"),
        ("/never-start", "start_response"),
        ("/never-start-empty", "start_response"),
        ("/none", "None"),
        ("/str-body", r"\bstr\b"),
        ("/str-iterated", r"\bstr\b"),
    ],
)
def test_a_fault_before_the_first_byte_is_a_clean_500(server, path, logged):
    seen = len(server.errors)
    response = server.get(path)
    assert response.status == 500
    assert b"Traceback" not in response.body and b"ValueError" not in response.body
    server.wait_for_log(logged, since=seen)


def test_a_500_before_the_first_byte_keeps_the_connection(server):
    with server.connect() as wire:
        for path in ("/raise-before", "/none", "/bad-headers?none", "/never-start"):
            wire.send(request("POST", path, body=b"read in full"))
            response = wire.response()
            assert response.status == 500 and not response.wants_close(), path
        wire.send(request("GET", "/pid", "Connection: close"))
        assert wire.response().body.isdigit()
        wire.expect_close()
    # As the client asks for.
    assert server.exchange(request("GET", "/raise-before", version="1.0")).wants_close()


def test_a_long_exception_has_its_beginning_and_its_end_in_the_log(server):
    seen = len(server.errors)
    assert server.get("/long-exception").status == 500
    entry = server.wait_for_log(r"(?s)GET /long-exception\n.*x end\n", since=seen)
    assert "Traceback (most recent call last)" in entry and "ValueError: begin xxx" in entry
    assert len(entry) < 100_000
    reported = re.search(r"\.\.\. (\d+) of (\d+) bytes omitted", entry)
    assert reported and 2_900_000 < int(reported[1]) < int(reported[2])


def test_the_log_names_the_request_and_has_the_traceback(server):
    server.get("/raise-before?unmistakable")
    entry = server.wait_for_log(r"(?s)/raise-before\?unmistakable.*?raised before start_response")
    assert "Traceback (most recent call last)" in entry and "faults.py" in entry


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/system-exit", "SystemExit"),
        ("/keyboard-interrupt", "KeyboardInterrupt"),
        ("/generator-exit", "GeneratorExit"),
        ("/base-exception", "Fatal"),
        ("/system-exit-in-generator", "SystemExit"),
    ],
)
def test_an_exception_outside_exception_is_a_500_and_the_worker_survives(server, path, name):
    pid = server.get("/pid").body
    workers = server.workers()
    assert server.get(path).status == 500
    server.wait_for_log(rf"(?s)Traceback.*{name}")
    assert server.get("/pid").body == pid
    assert server.workers() == workers


def test_stop_iteration_from_the_call_closes_or_fails_but_never_succeeds(server):
    assert server.get("/stop-iteration").status == 500
    assert server.get("/pid").status == 200


def test_an_exception_in_a_chunked_stream_leaves_out_the_last_chunk(server):
    for path, piece in [("/raise-midstream", b"some data"), ("/str-midstream", b"bytes")]:
        with server.connect() as wire:
            wire.send(request("GET", path))
            assert wire.head().framing == "chunked"
            assert wire.chunk() == piece
            with pytest.raises(Truncated):
                wire.chunk()
    server.wait_for_log("raised in the stream")


def test_an_exception_in_a_stream_of_known_length_leaves_it_short(server):
    with server.connect() as wire:
        wire.send(request("GET", "/raise-midstream-length"))
        assert wire.head().length == 100
        assert wire.rest() == b"some data"


def test_an_exception_in_a_stream_to_an_old_client_resets_or_ends_the_connection(server):
    # HTTP/1.0 has no other end than the close, so the only honest sign left is a reset.
    with server.connect() as wire:
        wire.send(request("GET", "/raise-midstream", version="1.0"))
        wire.rest()
        assert wire.was_reset


@pytest.mark.parametrize("path", ["/body-in-204", "/body-in-304"])
def test_a_body_where_none_may_be_is_not_sent(server, path):
    with server.connect() as wire:
        wire.send(request("GET", path) + request("GET", "/pid", "Connection: close"))
        response = wire.response()
        assert response.status in (204, 304) and response.framing == "none"
        assert wire.response().body.isdigit()
        wire.expect_close()


FORGED = "[2026-11-28 14:00:30 +0000] [4711] [CRITICAL] forged"


@pytest.mark.parametrize(
    ("sent", "lines"),
    [
        ("plain \t text", ["begin plain \t text", "plain \t text"]),
        ("a\x1b[2Jb\x07\rc", [r"begin a\x1b[2Jb\x07\x0dc", r"a\x1b[2Jb\x07\x0dc"]),
        ("c1 \u009b31m \u2603", ["begin c1 \\xc2\\x9b31m \u2603", "c1 \\xc2\\x9b31m \u2603"]),
        (f"x\n{FORGED}", ["begin x", f" {FORGED}", "x", f" {FORGED}"]),
        (f"x\r\n{FORGED}", ["begin x", f" {FORGED}", "x", f" {FORGED}"]),
        (FORGED, [f"begin {FORGED}", f" {FORGED}"]),
        ("[Flask's own", ["begin [Flask's own", "[Flask's own"]),
        ("x\n[Flask's own", ["begin x", " [Flask's own", "x", " [Flask's own"]),
    ],
)
def test_what_is_written_to_wsgi_errors_can_neither_forge_a_record_nor_drive_a_terminal(
    shared, sent, lines
):
    server = shared("protocol:app", "--threads", "1")
    seen = len(server.errors)
    server.post("/errors-of-client", sent.encode())
    server.get("/errors")
    server.wait_for_log("a first listed note", since=seen)
    found = server.errors[seen:].splitlines()
    assert found[: len(lines) + 1] == [*lines, "a written note"]


@pytest.mark.parametrize("query", ["", "flush"])
def test_half_a_line_in_wsgi_errors_ends_with_its_request_or_flush(shared, query):
    server = shared("protocol:app", "--threads", "1")
    seen = len(server.errors)
    server.post(f"/errors-of-client?{query}", b"half a line")
    server.post("/errors-of-client", b"another request")
    server.wait_for_log("\nanother request\n", since=seen)
    assert server.errors[seen:] == (
        "begin half a line\nhalf a line\nbegin another request\nanother request\n"
    )


def test_wsgi_errors_go_to_the_error_log(shared):
    server = shared("protocol:app")
    assert server.get("/errors").body == b"noted"
    for note in ("a written note", "a first listed note", "a second listed note", "a note with a"):
        server.wait_for_log(note)
