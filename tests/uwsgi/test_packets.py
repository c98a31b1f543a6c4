"""Packets of web servers and of other peers: valid, odd and hostile ones."""

import json
import socket
import struct
import time

import pytest
from harness import eventually, free_port, request
from harness.crowd import resident_kibibytes
from harness.packets import GET, PacketWire, ask, get, packet, post, variable

HEADER = struct.Struct("<BHB")


@pytest.fixture(scope="module")
def server(uwsgi):
    return uwsgi("protocol:app", "--threads", "2", "--head-timeout", "2", "--body-timeout", "2")


@pytest.fixture(scope="module")
def wires(uwsgi):
    return uwsgi("wire_app:app", "--threads", "2")


def environ_of(server, data):
    response = ask(server, data)
    assert response.status == 200, response
    return json.loads(response.body)


def test_environ_has_what_the_packet_says(server):
    environ = environ_of(
        server,
        get("/environ?a=%20b", HTTPS="on", HTTP_X_FOO="1", REMOTE_USER="anna", FOO="bar"),
    )
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "a=%20b",
        "REQUEST_URI": "/environ?a=%20b",
        "RAW_URI": "/environ?a=%20b",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "example.com",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "4711",
        "HTTP_HOST": "example.com",
        "HTTP_X_FOO": "1",
        "HTTPS": "on",
        "REMOTE_USER": "anna",
        "FOO": "bar",
        "wsgi.url_scheme": "https",
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert environ["SERVER_SOFTWARE"].startswith("lockgate/")


def test_a_parameter_replaces_no_key_of_the_server_or_of_wsgi(server):
    evil = {
        "wsgi.input": "x",
        "wsgi.errors": "x",
        "wsgi.anything": "x",
        "lockgate.client_disconnected": "x",
        "lockgate.anything": "x",
        "SERVER_SOFTWARE": "x",
        "RAW_URI": "x",
        "HTTP_PROXY": "http://evil/",
    }
    environ = environ_of(server, packet({**GET, "PATH_INFO": "/environ", **evil}))
    assert "HTTP_PROXY" not in environ
    assert [key for key in environ if environ[key] in ("x", "http://evil/")] == []


def test_the_last_parameter_of_a_name_counts(server):
    later = [("PATH_INFO", "/environ"), ("FOO", "1"), ("FOO", "2"), ("HTTP_HOST", "b")]
    environ = environ_of(server, packet([*GET.items(), *later]))
    assert (environ["FOO"], environ["HTTP_HOST"], environ["PATH_INFO"]) == ("2", "b", "/environ")


@pytest.mark.parametrize(
    ("changes", "name", "path"),
    [
        ({"SCRIPT_NAME": "/app", "REQUEST_URI": "/app/environ"}, "/app", "/environ"),
        (
            {"SCRIPT_NAME": "/app", "PATH_INFO": "/app/environ", "REQUEST_URI": "/app/environ"},
            "/app",
            "/environ",
        ),
        ({"REQUEST_URI": "/before/the/rewrite"}, "", "/environ"),
        ({"SCRIPT_NAME": "/\xc3\xa9", "REQUEST_URI": "/%C3%A9/environ"}, "/\xc3\xa9", "/environ"),
    ],
)
def test_script_name_is_never_in_path_info(server, changes, name, path):
    environ = environ_of(server, get("/environ", **changes))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (name, path)
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == changes["REQUEST_URI"]


def test_root_path_is_removed_unless_the_packet_has_a_script_name(uwsgi):
    server = uwsgi("protocol:app", "--root-path", "/app")
    for path, changes, expected in [
        ("/app/environ", {}, "/app"),
        ("/environ", {}, "/app"),
        ("/environ", {"SCRIPT_NAME": "/b"}, "/b"),
    ]:
        environ = environ_of(server, get(path, **changes))
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (expected, "/environ")


@pytest.mark.parametrize(
    ("address", "fields", "expected"),
    [
        ("192.0.2.1", {}, ("192.0.2.1", "4711", "http")),
        # The client has written it, and it is no proxy.
        ("192.0.2.1", {"HTTP_X_FORWARDED_FOR": "6.6.6.6"}, ("192.0.2.1", "4711", "http")),
        ("192.0.2.1", {"HTTP_X_FORWARDED_PROTO": "https"}, ("192.0.2.1", "4711", "http")),
        # A proxy before the web server.
        (
            "127.0.0.1",
            {"HTTP_X_FORWARDED_FOR": "192.0.2.9", "HTTP_X_FORWARDED_PROTO": "https"},
            ("192.0.2.9", "", "https"),
        ),
        ("unix:", {"HTTP_X_FORWARDED_FOR": "6.6.6.6"}, ("", "", "http")),
        ("2001:db8::1", {"REQUEST_SCHEME": "https"}, ("2001:db8::1", "4711", "https")),
    ],
)
def test_only_a_trusted_proxy_before_the_web_server_names_a_client(
    server, address, fields, expected
):
    environ = environ_of(server, get("/environ", REMOTE_ADDR=address, **fields))
    found = (environ["REMOTE_ADDR"], environ["REMOTE_PORT"], environ["wsgi.url_scheme"])
    assert found == expected
    # The web server may have set them itself, so the application gets them as with uWSGI.
    for name, value in fields.items():
        assert environ[name] == value


def test_bodies_arrive_whole_in_memory_and_on_disk(wires):
    for size in (0, 1, 100_000, 3_000_000):
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert ask(wires, post("/body", body)).body == b"POST /body " + body


def test_expect_gets_no_interim_response(wires):
    data = post("/", b"abc", HTTP_EXPECT="100-continue")
    with PacketWire(wires.address) as wire:
        wire.send(data[:-3])
        wire.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            wire.has_begun()
        wire.socket.settimeout(10)
        wire.send(data[-3:])
        assert wire.response().body == b"POST / abc"


def test_a_streamed_body_is_read_while_it_arrives(uwsgi):
    server = uwsgi("bodies:app", "--stream-request-body", "/")
    body = b"0123456789" * 100_000
    data = post("/digest", body)
    with PacketWire(server.address) as wire:
        for start in range(0, len(data), 70_000):
            wire.send(data[start : start + 70_000])
        assert json.loads(wire.response().body)["seen"][0] == len(body)


@pytest.mark.parametrize(
    ("path", "changes", "status", "framing"),
    [
        ("/stream?pieces=3", {}, 200, "close"),
        ("/large?megabytes=3", {}, 200, "length"),
        ("/status?code=204", {}, 204, "none"),
        ("/status?code=304", {}, 304, "none"),
        ("/head-with-length", {"REQUEST_METHOD": "HEAD"}, 200, "none"),
        ("/stream", {"REQUEST_METHOD": "HEAD"}, 200, "none"),
        ("/stream", {"SERVER_PROTOCOL": "HTTP/1.0"}, 200, "close"),
        ("/stream", {"SERVER_PROTOCOL": "HTTP/2.0", "HTTP_CONNECTION": "keep-alive"}, 200, "close"),
    ],
)
def test_responses_end_with_their_length_or_the_connection(wires, path, changes, status, framing):
    response = ask(wires, get(path, **changes), changes.get("REQUEST_METHOD", "GET"))
    assert (response.status, response.framing) == (status, framing)
    if framing == "close":
        assert response.body.startswith(b"piece 0;piece 1;piece 2;")


def test_a_response_that_fails_ends_with_a_reset(server):
    with PacketWire(server.address) as wire:
        wire.send(get("/closing-raise"))
        head = wire.head()
        assert (head.status, head.framing) == (200, "close")
        wire.rest()
        assert wire.was_reset


def test_only_web_servers_have_more_connections_than_an_address(uwsgi):
    server = uwsgi("protocol:app", "--limit-connections-per-address", "1")
    for source, answer in (("127.0.0.1", b""), ("127.0.0.2", b"HTTP/1.0 429")):
        with (
            socket.create_connection(server.address, source_address=(source, 0)),
            socket.create_connection(server.address, source_address=(source, 0)) as second,
        ):
            second.settimeout(0.5 if not answer else 10)
            try:
                received = second.recv(12)
            except TimeoutError:
                received = b""
            assert received[:5] == answer[:5] and received[8:] == answer[8:]


@pytest.mark.parametrize("streams", [False, True])
def test_over_unix_sockets_it_is_a_reset_too(start, tmp_path, streams):
    path = tmp_path / "app.sock"
    flags = ["--stream-request-body", "/"] if streams else []
    start("protocol:app", *flags, bind=[f"uwsgi://unix:{path}"])
    for data in (get("/closing-raise"), post("/reading-and-raise", b"body" * 100_000)):
        with PacketWire(str(path)) as wire:
            wire.send(data)
            assert wire.head().framing == "close"
            assert wire.rest() == b"one"
            assert wire.was_reset
    with PacketWire(str(path)) as wire:
        wire.send(get("/closing"))
        wire.head()
        assert wire.rest() == b"onetwo"
        assert not wire.was_reset


@pytest.mark.parametrize(
    ("data", "status", "detail"),
    [
        (packet({}), 400, "missing"),
        (HEADER.pack(0, 5, 0) + b"\xff\xffabc", 400, "exceeds its size"),
        (HEADER.pack(0, 65535, 0) + bytes(65535), 400, "without a name"),
        (
            HEADER.pack(0, 65535, 0) + b"\x01\x00A\x00\x00" * 13107,
            431,
            "too many variables",
        ),
        (packet([*GET.items(), *[(f"HTTP_X{n}", "") for n in range(101)]]), 431, "too many field"),
        (packet({**GET, "HTTP_X": "a" * 9000}), 431, "field line is too long"),
        (get("/" + "a" * 9000), 414, "request line is too long"),
        (packet({**GET, "FOO": "a\0b"}), 400, "control byte"),
        (packet({**GET, "HTTP_X": "a\0b"}), 400, "control byte"),
        (packet({**GET, "HTTP_X": "a\r\nB: c"}), 400, "control byte"),
        (packet([*GET.items(), ("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "2")]), 400, "two val"),
        (packet({**GET, "CONTENT_LENGTH": "-1"}), 400, "not a plain number"),
        (packet({**GET, "CONTENT_LENGTH": "9" * 30}), 400, "64 bits"),
        (packet({**GET, "CONTENT_LENGTH": str(1 << 40)}), 413, "too large"),
        (packet({**GET, "HTTP_TRANSFER_ENCODING": "chunked"}), 411, "without CONTENT_LENGTH"),
        (packet({**GET, "REMOTE_ADDR": "evil"}), 400, "REMOTE_ADDR"),
        (packet({**GET, "REQUEST_METHOD": "TRACE"}), 501, "CONNECT and TRACE"),
        (packet({**GET, "HTTP_HOST": "a, b"}), 400, "Host"),
        (packet(GET, modifiers=(5, 0)), 501, "modifier1 5: a PSGI request"),
        (packet(GET, modifiers=(100, 0)), 501, "a ping"),
        (packet(GET, modifiers=(22, 0)), 501, "code to run"),
        (packet(GET, modifiers=(42, 0)), 501, "unknown"),
        (packet(GET, modifiers=(0, 1)), 501, "must be 0 and not 1"),
    ],
)  # fmt: skip
def test_a_hostile_packet_is_refused_at_once(server, data, status, detail):
    begun = time.monotonic()
    response = ask(server, data)
    assert response.status == status
    assert detail in response.body.decode()
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "data", [get()[:3], get()[:20], HEADER.pack(0, 1000, 0), post("/", b"abc")[:-1]]
)
def test_a_packet_that_ends_early_is_refused(server, data):
    with PacketWire(server.address) as wire:
        wire.send(data)
        wire.finish_sending()
        assert wire.response().status == 400
    with PacketWire(server.address) as wire:
        wire.send(data)
        begun = time.monotonic()
        assert wire.response().status == 408
        assert time.monotonic() - begun < 6


def test_a_client_that_half_closes_gets_its_response(wires):
    with PacketWire(wires.address) as wire:
        wire.send(get("/a"))
        wire.finish_sending()
        assert wire.response().body == b"GET /a "


def test_what_follows_a_request_is_dropped(wires):
    for garbage in (get("/b"), b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n", bytes(100_000)):
        assert ask(wires, get("/a") + garbage).body == b"GET /a "
        assert ask(wires, post("/a", b"body") + garbage).body == b"POST /a body"


def test_a_packet_may_arrive_byte_by_byte(wires):
    with PacketWire(wires.address) as wire:
        for byte in post("/a", b"body"):
            wire.send(bytes([byte]))
        assert wire.response().body == b"POST /a body"


def test_packets_that_never_end_hold_only_what_has_arrived(uwsgi):
    server = uwsgi("wire_app:app", "--head-timeout", "5")
    [worker] = server.workers()
    before = resident_kibibytes(worker)
    crowd = [PacketWire(server.address) for _ in range(300)]
    for wire in crowd:
        wire.send(HEADER.pack(0, 65535, 0) + variable(b"A", b"b"))
    assert ask(server, get("/a")).status == 200
    assert resident_kibibytes(worker) - before < 6000
    for wire in crowd:
        assert wire.response().status == 408
        wire.close()


def test_http_at_a_port_of_the_uwsgi_protocol_is_explained(server):
    seen = len(server.errors)
    response = ask(server, request("GET", "/"))
    assert response.status == 400
    assert b"an HTTP request on a port of the uwsgi protocol" in response.body
    server.wait_for_log(r"see bind: write http:// before its address.*uwsgi_pass", since=seen)


def test_a_packet_at_a_port_of_http_is_explained(shared):
    server = shared("wire_app:app")
    with PacketWire(server.address) as wire:
        wire.send(get("/"))
        response = wire.response()
    assert (response.status, b"a uwsgi packet on an HTTP port" in response.body) == (400, True)
    server.wait_for_log(r"see bind: write uwsgi:// before its address.*proxy_pass")


def test_a_web_server_that_is_not_allowed_is_refused(uwsgi):
    server = uwsgi("wire_app:app", "--uwsgi-allow-from", "192.0.2.0/24")
    assert ask(server, get("/a")).status == 403
    server.wait_for_log(r"refused a request from .*127.0.0.1 with 403: .*; see uwsgi_allow_ips")


def test_unix_sockets_and_the_protocol_setting(start, tmp_path):
    path, port = tmp_path / "app.sock", free_port()
    server = start(
        "wire_app:app",
        "--protocol",
        "uwsgi",
        "--uwsgi-allow-ips",
        "",
        bind=[f"unix:{path}", f"http://127.0.0.1:{port}"],
    )
    assert f"uwsgi://unix:{path}" in server.errors
    assert ask(str(path), get("/a")).body == b"GET /a "
    server.address = ("127.0.0.1", port)
    assert server.get("/a").body == b"GET /a "


def test_the_access_log_has_the_client_and_the_request(start, tmp_path):
    log, port = tmp_path / "access.log", free_port()
    start("wire_app:app", "--access-logfile", str(log), bind=[f"uwsgi://127.0.0.1:{port}"])
    address = ("127.0.0.1", port)
    ask(address, get("/a?b", HTTP_USER_AGENT="curl", REMOTE_USER="anna"))
    ask(address, packet({**GET, "REQUEST_METHOD": ""}))
    ask(address, packet(GET, modifiers=(9, 0)))

    def lines():
        return log.read_text().splitlines() if log.read_text().count("\n") == 3 else None

    first, second, third = eventually(lines, what="three lines in the access log")
    assert first.startswith("192.0.2.1 - anna [")
    assert '"GET /a?b HTTP/1.1" 200 ' in first and first.endswith('"curl"')
    assert " 400 " in second
    assert " 501 " in third and third.startswith("127.0.0.1 ")
