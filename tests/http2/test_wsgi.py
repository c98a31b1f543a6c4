"""PEP 3333 over HTTP/2: environ, bodies, errors, write(), file_wrapper, close()."""

import hashlib
import json

import pytest
from harness import eventually
from harness.http2 import (
    GET,
    INITIAL_WINDOW_SIZE,
    INTERNAL_ERROR,
    Http2,
    data,
    headers,
    priority,
    rst_stream,
    settings,
    window_update,
)


@pytest.fixture(scope="module")
def protocol(shared):
    return shared("protocol:app", "--threads", "4")


@pytest.fixture(scope="module")
def faults(shared):
    return shared("faults:app", "--threads", "2")


@pytest.fixture(scope="module", params=["1", "2"])
def wires(shared, request):
    return shared("wire_app:app", "--threads", request.param)


@pytest.fixture(scope="module", params=["1", "4"])
def streaming(shared, request):
    arguments = ("--stream-request-body", "/stream/", "--threads", request.param)
    server = shared("streaming:app", *arguments)
    server.threads = request.param
    return server


def fields(path, *more, method=b"GET", authority=b"lockgate.test"):
    return ((b":method", method), *GET[1:2], (b":path", path), (b":authority", authority), *more)


def get(server, path, *more, **options):
    with Http2(server.address) as client:
        return client.request(1, fields(path, *more, **options))


def environ_of(server, path=b"/environ", *more, **options):
    response = get(server, path, *more, **options)
    assert response.status == 200, response
    return json.loads(response.body)


def test_the_environ_is_that_of_http_1_but_for_the_protocol(protocol):
    with Http2(protocol.address) as client:
        port = client.socket.getsockname()[1]
        more = ((b"x-a", b"1"), (b"x-a", b"2"), (b"user-agent", b"caf\xe9"))
        found = json.loads(client.request(1, fields(b"/environ?a=%20", *more)).body)
        client.send(headers(3, fields(b"/environ", method=b"POST"), False), data(3, b"abc"))
        posted = json.loads(client.response(3).body)
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "a=%20",
        "SERVER_PROTOCOL": "HTTP/2.0",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(protocol.port),
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": str(port),
        "HTTP_HOST": "lockgate.test",
        "HTTP_X_A": "1,2",
        "HTTP_USER_AGENT": "caf\xe9",
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert not [key for key in found if ":" in key or key.startswith("HTTP_:")]
    assert "CONTENT_LENGTH" not in found and posted["CONTENT_LENGTH"] == "3"
    assert "HTTP_TRANSFER_ENCODING" not in posted


def test_the_same_request_over_http_1_differs_only_in_its_connection(protocol):
    first = json.loads(protocol.get("/environ").body)
    second = environ_of(protocol)
    changing = {"REMOTE_PORT", "SERVER_PROTOCOL", "HTTP_CONNECTION"}
    differing = {key for key in {*first, *second} if first.get(key) != second.get(key)}
    assert differing <= changing, differing


def test_host_is_that_of_authority(protocol):
    assert environ_of(protocol, authority=b"a.test:81")["HTTP_HOST"] == "a.test:81"
    both = environ_of(protocol, b"/environ", (b"host", b"lockgate.test"))
    assert both["HTTP_HOST"] == "lockgate.test"


def test_bodies_of_every_kind(protocol):
    expected = {
        b"/hello": b"hello",
        b"/pieces": b"one two three",
        b"/empty-list": b"",
        b"/bytearray": b"octets",
        b"/written": b"written twice and returned",
    }
    for path, body in expected.items():
        assert get(protocol, path).body == body, path
    late = get(protocol, b"/late-start")
    assert (late.status, late.body, late.field("x-late")) == (201, b"late", "yes")


@pytest.mark.parametrize(("path", "status"), [(b"/replaced", 503), (b"/replaced-after-empty", 503)])
def test_exc_info_replaces_a_head_that_was_not_sent(protocol, path, status):
    response = get(protocol, path)
    assert (response.status, response.body) == (status, b"replaced")
    assert response.field("x-first") is None


@pytest.mark.parametrize("kind", ["streamed", "written"])
def test_pieces_arrive_while_the_application_runs(protocol, kind):
    with Http2(protocol.address) as client:
        path = f"/{kind}-through-a-gate?{kind}".encode()
        client.send(headers(1, fields(path)))
        client.wait(lambda: client.streams[1].body == b"before", "the first piece")
        assert client.request(3, fields(f"/open?{kind}".encode())).body == b"open"
        assert client.response(1).body == b"beforeafter"


def test_close_is_called_once_however_the_response_ends(protocol):
    def closed():
        return json.loads(get(protocol, b"/closed").body)

    before = closed()
    assert get(protocol, b"/closing").body == b"onetwo"
    assert get(protocol, b"/closing-head", method=b"HEAD").body == b""
    with Http2(protocol.address) as client:
        client.send(headers(1, fields(b"/closing-raise")))
        client.wait(lambda: client.streams[1].reset is not None, "RST_STREAM")
        client.send(headers(3, fields(b"/closing-endless")))
        client.wait(lambda: len(client.streams[3].body) > 1_000_000, "a part of the body")
        client.send(rst_stream(3))
        eventually(lambda: len(closed()) == len(before) + 4, what="four are closed")
    assert sorted(closed()[len(before) :]) == ["endless", "head", "normal", "raised"]


def test_an_endless_response_ends_with_its_connection(protocol):
    before = json.loads(get(protocol, b"/closed").body).count("endless")
    with Http2(protocol.address, settings((INITIAL_WINDOW_SIZE, 0))) as client:
        client.send(headers(1, fields(b"/closing-endless")))
        client.wait(lambda: client.streams[1].fields is not None, "its head")

    def count():
        return json.loads(get(protocol, b"/closed").body).count("endless")

    eventually(lambda: count() == before + 1, what="it is closed")


@pytest.mark.parametrize(
    "path", [b"/raise-before", b"/never-start", b"/none", b"/str-body", b"/system-exit"]
)
def test_a_failure_before_the_head_is_500(faults, path):
    with Http2(faults.address) as client:
        assert client.request(1, fields(path)).status == 500
        assert client.request(3, fields(b"/pid")).status == 200


@pytest.mark.parametrize(
    "path", [b"/raise-midstream", b"/raise-midstream-length", b"/str-midstream"]
)
def test_a_failure_behind_the_head_resets_the_stream_and_not_the_connection(faults, path):
    with Http2(faults.address) as client:
        client.send(headers(1, fields(path)))
        found = client.streams[1]
        client.wait(lambda: found.reset is not None, "RST_STREAM")
        assert found.reset == INTERNAL_ERROR
        assert not found.is_ended
        assert client.request(3, fields(b"/pid")).status == 200


@pytest.mark.parametrize("case", ["value-lf", "value-nul", "name-space", "lengths-differ", "none"])
def test_bad_headers_are_500(faults, case):
    response = get(faults, f"/bad-headers?{case}".encode())
    assert response.status == 500
    assert not [name for name, _ in response.fields if "injected" in name]


def test_fields_of_the_connection_are_not_sent(faults):
    """The client finds them."""
    kept = get(faults, b"/hop-by-hop")
    assert (kept.status, kept.field("x-kept"), kept.field("te")) == (200, "yes", None)
    assert get(faults, b"/connection-close").body == b"bye"


def test_connection_close_of_the_application_ends_no_other_stream(faults):
    with Http2(faults.address) as client:
        assert client.request(1, fields(b"/connection-close")).body == b"bye"
        client.round_trip()
        assert not client.goaways
        assert client.request(3, fields(b"/pid")).status == 200


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_have_none(faults, status):
    response = get(faults, f"/body-in-{status}".encode())
    assert (response.status, response.body) == (status, b"")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_files_are_sent_whole(wires, method):
    piece = bytes(range(256))
    content = piece * 1_000
    for path, expected in [
        (b"/file?size=256000", content),
        (b"/file?size=256000&offset=1000", content[1000:]),
        (b"/file?size=256000&length=5000", content[:5000]),
        (b"/file-like", piece * 768),
        (b"/file-minimal", b"minimal file"),
        (b"/file-iterated", b"iterated"),
    ]:
        response = get(wires, path, method=method)
        assert response.status == 200
        assert response.body == (b"" if method == b"HEAD" else expected), path


def test_large_heads_and_several_cookies(wires):
    large = dict(get(wires, b"/large-headers").fields)
    assert len([name for name in large if name.startswith("x-large-")]) == 40
    cookies = get(wires, b"/cookies").fields
    assert [value for name, value in cookies if name == "set-cookie"] == ["a=1", "b=2"]


def test_trailers_of_a_request_do_not_reach_the_application(protocol):
    with Http2(protocol.address) as client:
        head = fields(b"/environ", (b"x-own", b"1"), method=b"POST")
        client.send(headers(1, head, end_stream=False), data(1, b"body", end_stream=False))
        client.send(headers(1, ((b"x-own", b"2"), (b"x-trailer", b"3"))))
        found = json.loads(client.response(1).body)
    assert (found["HTTP_X_OWN"], found.get("HTTP_X_TRAILER")) == ("1", None)


def test_a_streamed_body_is_echoed_piece_by_piece(streaming):
    with Http2(streaming.address) as client:
        client.settled()
        client.send(headers(1, fields(b"/stream/echo", method=b"POST"), end_stream=False))
        expected = b""
        for piece in (b"first", b"second", b"third"):
            client.send(data(1, piece, end_stream=False))
            expected += piece
            client.wait(lambda: client.streams[1].body == expected, f"{expected!r}")  # noqa: B023
        client.send(data(1))
        assert client.response(1).body == expected


@pytest.mark.parametrize("name", [b"digest?65536", b"digest?1000", b"digest-of-all", b"flask"])
def test_a_streamed_upload_of_five_megabytes_arrives_whole(streaming, name):
    body = bytes(range(251)) * 20_000
    with Http2(streaming.address, timeout=30) as client:
        client.settled()
        path = b"/stream/" + name
        client.send(headers(1, fields(path, method=b"POST"), end_stream=False))
        send_body(client, 1, body)
        assert json.loads(client.response(1).body) == [len(body), hashlib.sha256(body).hexdigest()]


def send_body(client, stream, body):
    """Sends DATA as the windows of the server allow."""
    taken, at = 0, 0
    of_connection, of_stream = 65_535, client.settings.get(INITIAL_WINDOW_SIZE, 65_535)
    while at < len(body):
        for where, increment in client.window_updates[taken:]:
            of_connection += increment if where == 0 else 0
            of_stream += increment if where == stream else 0
        taken = len(client.window_updates)
        count = min(len(body) - at, of_connection, of_stream, 16_384)
        if count == 0:
            client.wait(lambda: len(client.window_updates) > taken, "WINDOW_UPDATE")  # noqa: B023
            continue
        client.send(data(stream, body[at : at + count], end_stream=at + count == len(body)))
        at, of_connection, of_stream = at + count, of_connection - count, of_stream - count


def test_a_streamed_body_that_is_refused_leaves_the_connection(streaming):
    with Http2(streaming.address) as client:
        client.settled()
        client.send(headers(1, fields(b"/stream/early", method=b"POST"), end_stream=False))
        client.send(data(1, b"x" * 1000, end_stream=False))
        assert client.response(1).status == 413
        client.send(data(1, b"x" * 1000))
        assert client.request(3, fields(b"/stream/environ", method=b"POST"), b"").status == 200


def test_streamed_bodies_of_one_connection_do_not_wait_for_each_other(streaming):
    if streaming.threads == "1":
        pytest.skip("with one thread the second request waits for the first")
    with Http2(streaming.address) as client:
        client.settled()
        client.send(headers(1, fields(b"/stream/read?4", method=b"POST"), end_stream=False))
        client.send(headers(3, fields(b"/stream/read?4", method=b"POST"), end_stream=False))
        client.send(data(3, b"last"))
        assert json.loads(client.response(3).body) == ["last"]
        client.send(data(1, b"long"))
        assert json.loads(client.response(1).body) == ["long"]


def test_a_reset_of_a_streamed_body_is_an_error_of_its_read(streaming):
    logged = len(streaming.errors)
    with Http2(streaming.address) as client:
        client.settled()
        head = fields(b"/stream/caught", (b"expect", b"100-continue"), method=b"POST")
        client.send(headers(1, head, end_stream=False))
        client.wait(lambda: client.streams[1].interim, "100 Continue, which the read has caused")
        client.send(data(1, b"half", end_stream=False), rst_stream(1))
        streaming.wait_for_log(r"caught ConnectionError", since=logged)
        assert client.request(3, fields(b"/stream/environ", method=b"POST"), b"").status == 200


def test_expect_100_continue(streaming):
    with Http2(streaming.address) as client:
        client.settled()
        head = fields(b"/stream/read?-1", (b"expect", b"100-continue"), method=b"POST")
        client.send(headers(1, head, end_stream=False))
        client.wait(lambda: client.streams[1].interim, "100 Continue")
        client.send(data(1, b"body"))
        assert json.loads(client.response(1).body) == ["body"]


def test_a_window_of_the_client_holds_a_body_back(wires):
    with Http2(wires.address, settings((INITIAL_WINDOW_SIZE, 10)), window_updates=False) as client:
        client.settled()
        client.send(headers(1, fields(b"/large?megabytes=1")))
        client.wait(lambda: len(client.streams[1].body) == 10, "ten bytes")
        client.round_trip()
        assert len(client.streams[1].body) == 10
        client.send(window_update(0, 1 << 20), window_update(1, 1 << 20))
        assert len(client.response(1).body) == 1 << 20


def test_frames_without_an_answer_do_not_stop_a_download(wires):
    """Such as an acknowledgement that is read where the server has interrupted its sending."""
    wide = settings((INITIAL_WINDOW_SIZE, 1 << 30))
    with Http2(wires.address, wide, window_updates=False) as client:
        client.send(window_update(0, 1 << 30))
        client.settled()
        for stream in range(1, 21, 2):
            client.send(headers(stream, fields(b"/large?megabytes=10")))
            found = client.streams[stream]
            while not found.is_ended:
                client.wait(lambda: len(found.pieces) % 20 == 19 or found.is_ended, "more")  # noqa: B023
                client.send(priority(stream + 2))
                if not found.is_ended:
                    client.frame()
            assert len(found.body) == 10 << 20
