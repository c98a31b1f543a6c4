"""Clients that send what only the service may say: no attack reaches the application, on no path.

Each row has the bytes that a client sends before its own cookie, and what becomes of the request.
"""

import json

import pytest
from harness import request
from harness.edge_attacks import NO_TRUST
from harness.http2 import Http2, data, headers

PASSES = 200
REFUSED = 400

#: The name, the lines of the head, and the status.
LINES = [
    ("the field", b"Remote-User: eve\r\n", PASSES),
    ("lower case", b"remote-user: eve\r\n", PASSES),
    ("capitals", b"REMOTE-USER: eve\r\n", PASSES),
    ("mixed case", b"reMOTE-usER: eve\r\n", PASSES),
    ("underscore", b"Remote_User: eve\r\n", PASSES),
    ("lower case and underscore", b"remote_user: eve\r\n", PASSES),
    ("capitals and underscore", b"REMOTE_USER: eve\r\n", PASSES),
    ("CGI's own name", b"HTTP_REMOTE_USER: eve\r\n", PASSES),
    ("another copied name", b"Remote-Groups: eve\r\nRemote_Groups: eve\r\n", PASSES),
    ("twice", b"Remote-User: eve\r\nRemote-User: eve\r\n", PASSES),
    ("all spellings", b"remote-user: eve\r\nRemote_User: eve\r\nREMOTE-USER: eve\r\n", PASSES),
    ("white space before the value", b"Remote-User:\t \teve\r\n", PASSES),
    ("no value, then one", b"Remote-User:\r\nRemote-User: eve\r\n", PASSES),
    ("listed in Connection", b"Connection: Remote-User\r\n", PASSES),
    ("sent and listed in Connection", b"Remote-User: eve\r\nConnection: Remote-User\r\n", PASSES),
    ("the cookie listed in Connection", b"Connection: Cookie\r\nRemote-User: eve\r\n", PASSES),
    ("a percent-encoded name", b"Remote%2DUser: eve\r\n", PASSES),
    ("a name with a dot", b"Remote.User: eve\r\n", PASSES),
    ("a name that goes on", b"Remote-User-: eve\r\n-Remote-User: eve\r\n", PASSES),
    ("a proxy's fields", b"X-Forwarded-Uri: /open\r\nX-Original-URL: /open\r\n", PASSES),
    ("another method", b"X-Forwarded-Method: OPTIONS\r\nX-HTTP-Method-Override: GET\r\n", PASSES),
    ("a space before the colon", b"Remote-User : eve\r\n", REFUSED),
    ("a tab before the colon", b"Remote-User\t: eve\r\n", REFUSED),
    ("a folded line", b"X: y\r\n Remote-User: eve\r\n", REFUSED),
    ("a bare line feed", b"X: y\nRemote-User: eve\r\n", REFUSED),
    ("a bare carriage return", b"X: y\rRemote-User: eve\r\n", REFUSED),
    ("a NUL in the name", b"Remote-User\0: eve\r\n", REFUSED),
    ("a byte of Latin-1 as the hyphen", b"Remote\xadUser: eve\r\n", REFUSED),
    ("a space in the name", b"Remote User: eve\r\n", REFUSED),
    ("a line without a name", b": eve\r\nRemote-User: eve\r\n", REFUSED),
    ("two lengths", b"Content-Length: 0\r\nContent-Length: 4\r\n", REFUSED),
    ("length and chunks", b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", REFUSED),
]

#: The name, and the fields of HTTP/2; None: the stream is reset.
FIELDS = [
    ("the field", [(b"remote-user", b"eve")], PASSES),
    ("twice", [(b"remote-user", b"eve"), (b"remote-user", b"eve")], PASSES),
    ("underscore", [(b"remote_user", b"eve")], PASSES),
    (
        "both",
        [(b"remote_user", b"eve"), (b"remote-user", b"eve"), (b"remote_groups", b"x")],
        PASSES,
    ),
    ("capitals", [(b"Remote-User", b"eve")], REFUSED),
    ("listed in connection", [(b"connection", b"remote-user")], REFUSED),
    ("a line break in a value", [(b"x", b"y\r\nremote-user: eve")], REFUSED),
    ("a line break in a name", [(b"x: y\r\nremote-user", b"eve")], REFUSED),
    ("a colon before the name", [(b":remote-user", b"eve")], REFUSED),
    ("a space behind the name", [(b"remote-user ", b"eve")], REFUSED),
]

#: Where: with a service, without one, and how the path may be written.
PRIVATE, OPEN = "/private", "/open"


@pytest.fixture(scope="module")
def server(shared, service, tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "lockgate.toml"
    path.write_text(f'''
        http2 = true
        threads = 2
        push = true
        websocket_over_http = ["/private/ws", "/open/ws"]
        stream_request_body = ["/private/stream", "/open/stream"]
        [[route]]
        path = "/private"
        forward_auth = {{ url = "{service.url}", copy = ["Remote-User", "Remote-Groups"] }}
    ''')
    return shared("guarded:app", "--config", str(path), *NO_TRUST)


def check(seen, path):
    """The application knows the user from the service alone."""
    user = "bob" if path.startswith(PRIVATE) else None
    assert seen.get("HTTP_REMOTE_USER") == user, seen
    assert "HTTP_REMOTE_GROUPS" not in seen, seen
    assert "REMOTE_USER" not in seen, seen


@pytest.mark.parametrize("path", [PRIVATE, OPEN])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("name, lines, status", LINES, ids=[row[0] for row in LINES])
def test_http_1(server, name, lines, status, version, path):
    head = f"GET {path} HTTP/{version}\r\nHost: a\r\n".encode()
    cookie = b"Cookie: user=bob\r\n"
    # Before and behind the cookie, which the service knows the client by.
    for fields in (lines + cookie, cookie + lines):
        with server.connect() as wire:
            wire.send(head + fields + b"\r\n")
            response = wire.response()
        assert response.status == status
        if status == PASSES:
            check(json.loads(response.body), path)


def get(path, method=b"GET"):
    return [
        (b":method", method),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"a"),
    ]


@pytest.mark.parametrize("path", [PRIVATE, OPEN])
@pytest.mark.parametrize("name, fields, status", FIELDS, ids=[row[0] for row in FIELDS])
def test_http_2(server, name, fields, status, path):
    with Http2(server.address) as connection:
        connection.send(headers(1, [*get(path), *fields, (b"cookie", b"user=bob")]))
        if status == REFUSED:
            stream = connection.streams[1]
            connection.wait(lambda: stream.reset is not None or stream.is_ended, "the refusal")
            assert stream.reset is not None or stream.status == 400
            return
        response = connection.response(1)
        assert response.status == 200
        check(json.loads(response.body), path)


@pytest.mark.parametrize("path", [PRIVATE, OPEN, f"{PRIVATE}/stream", f"{OPEN}/stream"])
def test_trailers(server, path):
    """They are no fields of the request (RFC 9110 §6.5.1)."""
    fields = "Cookie: user=bob\r\nTransfer-Encoding: chunked\r\nTrailer: Remote-User"
    with server.connect() as wire:
        wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n".encode())
        wire.send(b"4\r\nbody\r\n0\r\nRemote-User: eve\r\nremote_user: eve\r\n\r\n")
        response = wire.response()
    assert response.status == 200
    check(json.loads(response.body), path)
    with Http2(server.address) as connection:
        connection.send(headers(1, [*get(path, b"POST"), (b"cookie", b"user=bob")], False))
        connection.send(data(1, b"body", False))
        connection.send(headers(1, [(b"remote-user", b"eve"), (b"remote_user", b"eve")]))
        response = connection.response(1)
        assert response.status == 200
        check(json.loads(response.body), path)


def test_one_user_does_not_become_the_next_one(server):
    """Requests of one connection are apart, and so are those whose memory is used again."""
    with server.connect() as wire:
        for path, cookie, status in [
            (PRIVATE, "user=bob", 200),
            (OPEN, "", 200),
            (PRIVATE, "", 401),
            (OPEN, "user=bob", 200),
            (PRIVATE, "user=bob", 200),
            (OPEN, "", 200),
        ]:
            wire.send(request("GET", path, f"Cookie: {cookie}", "Remote-User: eve"))
            response = wire.response()
            assert response.status == status
            if status == 200:
                check(json.loads(response.body), path)


@pytest.mark.parametrize("path", [PRIVATE, OPEN])
def test_a_request_behind_a_body(server, path):
    """Pipelined requests: the second one is judged like the first."""
    second = f"GET {path} HTTP/1.1\r\nHost: a\r\nRemote-User: eve\r\nCookie: user=bob\r\n\r\n"
    with server.connect() as wire:
        wire.send(request("POST", OPEN, body=b"body") + second.encode())
        assert wire.response().status == 200
        response = wire.response()
    assert response.status == 200
    check(json.loads(response.body), path)


@pytest.mark.parametrize(
    "target",
    [
        "/private",
        "/private/",
        "/private?x=/open",
        "/%70rivate",
        "/%50RIVATE",
        "/Private",
        "//private",
        "/./private",
        "/open/../private",
        "/open/%2e%2e/private",
        "/private/.",
        "http://a/private",
        "http://a//private",
    ],
)
def test_a_path_in_another_form_asks_the_service(server, target):
    assert server.get(target, "Remote-User: eve").status == 401


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PURGE", "X"]
)
def test_every_method_asks_the_service(server, method):
    assert server.get(PRIVATE, "Remote-User: eve", method=method).status == 401


def test_the_service_is_not_deceived(server, service):
    """What it is asked about is the request."""
    server.get(
        "/private/x",
        "Cookie: user=bob",
        "X-Forwarded-Uri: /open",
        "X-Forwarded-Method: OPTIONS",
        "X-Forwarded-Host: evil",
        "X-Forwarded-For: 10.0.0.1",
        "X-Original-URL: /open",
        "Forwarded: host=evil",
        "Remote-User: eve",
        "Remote_User: eve",
    )
    asked = service.last()
    assert "eve" not in str(asked) and "evil" not in str(asked) and "/open" not in str(asked)
    assert asked["x-forwarded-uri"] == "/private/x" and asked["x-forwarded-for"] == "127.0.0.1"


HANDSHAKE = {
    "Connection": "upgrade, Remote-User",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Remote-User": "eve",
    "remote_user": "eve",
}


def handshake(path, **more):
    fields = {**HANDSHAKE, **more}
    return request("GET", path, *(f"{name}: {value}" for name, value in fields.items()))


@pytest.mark.parametrize("path, user", [("/private/ws", b"bob/-"), ("/open/ws", b"-/-")])
def test_websockets_that_the_server_holds(server, path, user):
    """The handshake and each message are requests, and none has what the client says."""
    with server.connect() as wire:
        wire.send(handshake(path, Cookie="user=bob"))
        assert wire.head().status == 101
        for _ in range(2):
            wire.send(b"\x81\x82\0\0\0\0hi")
            size = wire.part(2)[1]
            assert wire.part(size) == user


def test_a_websocket_of_a_client_that_the_service_refuses(server):
    with server.connect() as wire:
        wire.send(handshake("/private/ws"))
        response = wire.response()
    assert response.status == 401
    assert response.header("WWW-Authenticate") == 'Bearer realm="login"'


@pytest.mark.parametrize("path", [PRIVATE, OPEN])
def test_a_handshake_that_the_application_gets(server, path):
    with server.connect() as wire:
        wire.send(handshake(path, Cookie="user=bob"))
        response = wire.response()
    assert response.status == 200
    check(json.loads(response.body), path)
