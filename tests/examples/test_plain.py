"""examples/plain.py does what its first lines promise."""

import json

import pytest
from harness import EXAMPLES


@pytest.fixture(scope="module", params=["plain:app", "plain.py"])
def server(shared, request):
    return shared(request.param, chdir=EXAMPLES)


def test_it_says_hello(server):
    response = server.get("/")
    assert response.body.startswith(b"Hello!") and response.framing == "length"


def test_it_echoes(server):
    response = server.post("/echo", b"some text", "Content-Type: text/x-mine")
    assert (response.body, response.header("Content-Type")) == (b"some text", "text/x-mine")


def test_it_counts_in_pieces(server):
    response = server.get("/count?to=3")
    assert response.chunks == [b"1\n", b"2\n", b"3\n"]
    assert server.get("/count").status == 400


def test_it_shows_its_source(server):
    assert server.get("/source").body == (EXAMPLES / "plain.py").read_bytes()


def test_it_shows_its_environ(server):
    shown = json.loads(server.get("/environ").body)
    assert shown["PATH_INFO"] == "/environ"
    server.wait_for_log("environ shown to 127.0.0.1")


def test_it_does_not_know_everything(server):
    assert server.get("/else").status == 404
