"""`wsgi.input`: every method, at every place of a body, in memory and on disk."""

import hashlib
import json
from urllib.parse import quote

import pytest
from harness import chunked, request

BODY = b"first\nsecond\r\nthird\rstill third\x0b\x0c\x85still\n\nlast"
LINES = ["first\n", "second\r\n", "third\rstill third\x0b\x0c\x85still\n", "\n", "last"]


@pytest.fixture(scope="module", params=["memory", "spooled"])
def server(shared, request, tmp_path_factory):
    if request.param == "memory":
        return shared("bodies:app")
    spool = tmp_path_factory.mktemp("spool")
    return shared("bodies:app", "--body-memory", "8", "--spool-dir", str(spool))


def seen(server, target, body, *headers):
    response = server.post(target, body, *headers)
    assert response.status == 200
    return json.loads(response.body)["seen"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/read", BODY.decode("latin-1")),
        ("/read-all-forms", ["fi", BODY[2:].decode("latin-1")]),
        ("/read-none", BODY.decode("latin-1")),
        ("/read-huge", BODY.decode("latin-1")),
        ("/readlines", LINES),
        ("/iterate", LINES),
        ("/next", [LINES[0], LINES[1], "".join(LINES[2:])]),
        ("/readline?size=1000", LINES),
        ("/some", "fir"),
        ("/ignore", "nothing"),
    ],
)
def test_every_way_of_reading_gives_the_body(server, target, expected):
    assert seen(server, target, BODY) == expected
    data = request("POST", target, "Transfer-Encoding: chunked", "Connection: close")
    pieces = [BODY[at : at + 3] for at in range(0, len(BODY), 3)]
    response = server.exchange(data + chunked(pieces))
    assert json.loads(response.body)["seen"] == expected


def test_readline_with_a_size_gives_no_more_than_that(server):
    assert seen(server, "/readline?size=4", b"abcdef\ngh") == ["abcd", "ef\n", "gh"]


def test_reading_past_the_end_gives_nothing_for_ever(server):
    assert seen(server, "/read-past-end", b"abc") == ["abc", "", "", "", [], []]
    assert seen(server, "/read-past-end", b"") == ["", "", "", "", [], []]


def test_a_request_without_a_body_reads_as_empty(server):
    assert json.loads(server.get("/read-past-end").body)["seen"] == ["", "", "", "", [], []]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"\n\n\n",
        b"abc",
        b"ab\ncd\nefgh\nijklm\nno\npqrst",
        b"a\r\nb\rc\n" * 10,
        b"x" * 300 + b"\n" + b"y" * 300,
    ],
)
def test_a_mixed_walk_agrees_with_bytes_io(server, body):
    target = "/compare?body=" + quote(body.decode("latin-1"), encoding="latin-1", safe="")
    assert seen(server, target, body) == "same"


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 65536, 524288, 524289, 3_000_001])
def test_a_body_of_any_size_arrives_whole(server, size):
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    total, digest, _ = seen(server, "/digest?size=10000", body)
    assert (total, digest) == (size, hashlib.sha256(body).hexdigest())


def test_bodies_leave_no_files_behind(shared, tmp_path):
    server = shared("bodies:app", "--body-memory", "8", "--spool-dir", str(tmp_path))
    for target in ("/digest", "/ignore", "/some"):
        server.post(target, b"x" * 100_000)
    assert list(tmp_path.iterdir()) == []
