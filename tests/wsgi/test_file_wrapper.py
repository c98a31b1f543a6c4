"""wsgi.file_wrapper: real files from where they stand, file-like objects, and their close()."""

import os
from pathlib import Path

import pytest
from harness import eventually, request

PIECE = bytes(range(256)) * 256
CONTENT = (PIECE * 4)[:200_000]


@pytest.fixture(scope="module", params=["sendfile", "no-sendfile"])
def server(shared, request):
    return shared("wire_app:app", *(["--no-sendfile"] if request.param == "no-sendfile" else []))


def test_a_file_is_sent_with_its_length(server):
    response = server.get("/file")
    assert (response.framing, response.body == CONTENT) == ("length", True)


@pytest.mark.parametrize("offset", [1, 65_535, 199_999, 200_000, 300_000])
def test_a_file_is_sent_from_where_it_stands(server, offset):
    response = server.get(f"/file?offset={offset}")
    assert response.body == CONTENT[offset:]


def test_an_announced_length_ends_a_file_early(server):
    with server.connect() as wire:
        wire.send(request("GET", "/file?offset=1000&length=5000"))
        response = wire.response()
        assert response.header("Content-Length") == "5000"
        assert response.body == CONTENT[1000:6000]
        if not response.wants_close():
            wire.send(request("GET", "/next", "Connection: close"))
            assert wire.response().body == b"GET /next "


def test_a_file_shorter_than_announced_closes_the_connection(server):
    with server.connect() as wire:
        wire.send(request("GET", "/file?size=1000&length=5000") + request("GET", "/next"))
        head = wire.head()
        if head.status == 200:
            assert head.length == 5000
            assert wire.rest() == CONTENT[:1000]
        else:
            assert head.status == 500 and head.wants_close()


def test_an_empty_file_is_an_empty_body(server):
    assert server.get("/file?size=0").body == b""


@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize(
    "path", ["/proc/version", "/proc/filesystems", "/sys/kernel/mm/transparent_hugepage/enabled"]
)
def test_a_file_whose_size_is_not_true_is_read_to_its_end(server, path, buffering):
    if not Path(path).exists():
        pytest.skip(f"{path} is not there")
    content = Path(path).read_bytes()
    assert content
    with server.connect() as wire:
        wire.send(request("GET", f"/file-at?path={path}&buffering={buffering}"))
        response = wire.response()
        assert (response.framing, response.body) == ("chunked", content)
        wire.send(request("GET", "/next", "Connection: close"))
        assert wire.response().body == b"GET /next "


def test_a_pipe_and_a_device_are_read_to_their_end(server, tmp_path):
    assert server.get("/file-at?path=/dev/null").body == b""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with server.connect() as wire:
        wire.send(request("GET", f"/file-at?path={fifo}"))
        fifo.write_bytes(b"through a pipe" * 1000)
        assert wire.response().body == b"through a pipe" * 1000


def test_a_sparse_file_has_its_length(server, tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(300_000)
    response = server.get(f"/file-at?path={path}")
    assert (response.framing, response.body) == ("length", bytes(300_000))


def test_head_of_a_file_has_no_body(server):
    with server.connect() as wire:
        wire.send(request("HEAD", "/file?length=200000") + request("GET", "/next"))
        response = wire.response("HEAD")
        assert (response.header("Content-Length"), response.body) == ("200000", b"")
        assert wire.response().body == b"GET /next "


def test_a_large_file_arrives_whole(server):
    response = server.get("/file?size=20000000")
    assert response.length == 20_000_000
    assert response.body == (PIECE * (20_000_000 // len(PIECE) + 1))[:20_000_000]


def test_a_file_like_object_is_read_from_where_it_stands_and_closed_once(server):
    before = int(server.get("/file-closed-count").body)
    assert server.get("/file-like?offset=10").body == (PIECE * 3)[10:]
    eventually(
        lambda: int(server.get("/file-closed-count").body) == before + 1,
        within=5,
        what="close() of the file",
    )


def test_read_alone_is_enough(server):
    assert server.get("/file-minimal").body == b"minimal file"


def test_the_wrapper_can_be_iterated(server):
    assert server.get("/file-iterated").body == b"iterated"
