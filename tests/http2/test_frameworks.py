"""Flask and Django over HTTP/2, on several threads and one connection."""

import asyncio
import hashlib
import io

import httpx
import pytest
from harness.http2 import GET, Http2, data, headers

THREADS = 32
FORM = "multipart/form-data; boundary=limit"


@pytest.fixture(scope="module", params=["flask", "django"])
def server(shared, request):
    return shared(f"{request.param}_app:app", "--threads", str(THREADS))


@pytest.fixture
def client(server):
    with httpx.Client(http1=False, http2=True, base_url=server.url, timeout=30) as client:
        yield client


def fields(path, *more, method=b"GET"):
    return ((b":method", method), *GET[1:2], (b":path", path), *GET[3:], *more)


def test_get_and_head(client):
    assert client.get("/").text == "hello"
    bare = client.head("/")
    assert (bare.status_code, bare.content) == (200, b"")


def test_forms_and_json(client):
    form = {"name": "Zoë & co", "text": "two\nlines"}
    assert client.post("/form", data=form).json() == form
    value = {"a": [1, 2.5, None, "é"], "b": {"c": True}}
    assert client.post("/json", json=value).json() == {"received": value}


@pytest.mark.parametrize("size", [0, 10, 70_000, 5_000_000])
def test_uploads_arrive_whole(client, size):
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    sent = client.post("/upload", files={"file": ("a.bin", io.BytesIO(content))})
    assert sent.status_code == 200, sent.text
    assert sent.json() == {"name": "a.bin", "sha256": hashlib.sha256(content).hexdigest()}


def test_uploads_without_a_length_arrive_whole(server):
    content = bytes(range(251)) * 2_000
    begin = b'--limit\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    body = begin + content + b"\r\n--limit--\r\n"
    with Http2(server.address) as client:
        client.settled()
        head = fields(b"/upload", (b"content-type", FORM.encode()), method=b"POST")
        client.send(headers(1, head, end_stream=False))
        # Less than the connection's first window.
        pieces = [body[at : at + 10_000] for at in range(0, len(body), 10_000)]
        for number, piece in enumerate(pieces, 1):
            client.send(data(1, piece, end_stream=number == len(pieces)))
            client.round_trip()
        response = client.response(1)
    assert response.status == 200, response.body
    assert hashlib.sha256(content).hexdigest().encode() in response.body


def test_a_download_of_ten_megabytes_arrives_whole(client):
    response = client.get("/download", params={"megabytes": 10})
    assert response.content == bytes(range(256)) * 40_960


def test_ten_downloads_at_once_arrive_whole(server):
    async def download():
        options = {"http1": False, "http2": True, "base_url": server.url, "timeout": 30}
        async with httpx.AsyncClient(**options) as client:
            calls = [client.get("/download?megabytes=2") for _ in range(10)]
            return await asyncio.gather(*calls)

    # On threads httpcore 1.0 may send the headers of a stream behind those of the next one.
    responses = asyncio.run(download())
    assert {hashlib.sha256(one.content).hexdigest() for one in responses} == {
        hashlib.sha256(bytes(range(256)) * 8_192).hexdigest()
    }


def test_a_hundred_slow_views_over_one_connection(server):
    numbers = range(1, 201, 2)
    with Http2(server.address, timeout=30) as client:
        client.settled()
        for number in numbers:
            path = b"/slow?seconds=0.1&number=%d" % number
            client.send(headers(number, fields(path)))
        for number in numbers:
            response = client.response(number)
            assert (response.status, response.body) == (200, b"%d" % number)
        assert not client.goaways


def test_slow_views_run_at_the_same_time(server):
    """The first view is answered last: others pass it on the same connection."""
    with Http2(server.address, timeout=30) as client:
        client.settled()
        client.send(headers(1, fields(b"/slow?seconds=1&number=1")))
        for number in range(3, 43, 2):
            assert client.request(number, fields(b"/")).body == b"hello"
        assert not client.streams[1].is_ended
        assert client.response(1).body == b"1"


def test_streams_of_the_application(client):
    expected = "".join(f"line {number}\n" for number in range(100))
    response = client.get("/stream")
    assert response.text == expected and "content-length" not in response.headers


def test_responses_without_a_body(client):
    empty = client.get("/empty")
    assert (empty.status_code, empty.content) == (204, b"")
    assert "content-length" not in empty.headers
    known = client.get("/known")
    assert known.text == "known"
    again = client.get("/known", headers={"If-None-Match": known.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == known.headers["etag"]


def test_redirects_are_followed_on_the_same_connection(client):
    response = client.get("/moved", follow_redirects=True)
    assert response.json()["path"] == "/where"
    assert [one.status_code for one in response.history] == [302]


def test_cookies_set_a_session(client):
    assert [client.get("/session").text for _ in range(3)] == ["1", "2", "3"]


def test_the_crumbs_of_a_cookie_are_joined(server):
    """RFC 9113 §8.2.3."""
    crumbs = ((b"cookie", b"a=1"), (b"cookie", b"b=2; c=3"), (b"cookie", b"d=4"))
    with Http2(server.address) as client:
        response = client.request(1, fields(b"/cookies", *crumbs))
    assert httpx.Response(200, content=response.body).json() == {
        "a": "1", "b": "2", "c": "3", "d": "4"
    }  # fmt: skip


def test_an_error_in_a_view_is_500_and_the_connection_continues(server):
    with Http2(server.address) as client:
        assert client.request(1, fields(b"/error")).status == 500
        assert client.request(3, fields(b"/no/such/page")).status == 404
        assert client.request(5, fields(b"/")).body == b"hello"


def test_posts_with_trailers_are_answered(server):
    with Http2(server.address) as client:
        head = fields(b"/json", (b"content-type", b"application/json"), method=b"POST")
        client.send(headers(1, head, end_stream=False), data(1, b'{"a": 1}', end_stream=False))
        client.send(headers(1, ((b"x-checksum", b"1"),)))
        assert b'"a":' in client.response(1).body.replace(b" ", b"")
        assert client.request(3, fields(b"/")).body == b"hello"
