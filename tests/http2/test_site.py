"""HTTP/2 over TLS and behind proxies: HSTS, the redirect to https, whose client it is."""

import json
import socket

import pytest
from harness import free_port
from harness.http2 import GET, Http2, goaway


def fields(*more, scheme=b"http", authority=b"localhost"):
    return (*GET[:1], (b":scheme", scheme), (b":path", b"/environ"), (b":authority", authority),
            *more)  # fmt: skip


def environ(server, *more, context=None, **options):
    options.setdefault("scheme", b"https" if context else b"http")
    with Http2(server.address, context=context) as client:
        response = client.request(1, fields(*more, **options))
    assert response.status == 200, response
    return json.loads(response.body)


@pytest.fixture(scope="module")
def secure(shared, certificate):
    return shared("environment:app", *certificate, "--hsts", "600")


def test_the_environ_over_tls(secure, authority):
    found = environ(secure, context=authority.client())
    assert (found["wsgi.url_scheme"], found["SERVER_PROTOCOL"]) == ("https", "HTTP/2.0")
    assert found["SERVER_PORT"] == str(secure.port)
    assert found["HTTP_HOST"] == "localhost"


def test_strict_transport_security_is_on_every_response_over_tls_only(
    start, authority, certificate
):
    port = free_port()
    bind = [f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port + 1}"]
    server = start("wire_app:app", *certificate, "--hsts", "600", bind=bind)
    server.address = ("127.0.0.1", port)
    with Http2(server.address) as client:
        assert client.request(1, fields()).field("strict-transport-security") is None
    server.address = ("127.0.0.1", port + 1)
    with Http2(server.address, context=authority.client()) as client:
        whole = client.request(1, fields(scheme=b"https"))
        assert whole.field("strict-transport-security") == "max-age=600"
        refused = client.request(3, fields((b"expect", b"nonsense"), scheme=b"https"))
        assert refused.status >= 400
        assert refused.field("strict-transport-security") == "max-age=600"


def test_requests_without_tls_are_redirected(shared, tmp_path_factory):
    port, directory = free_port(), tmp_path_factory.mktemp("acme")
    server = shared(
        "hello:app", "--domain", "localhost,127.0.0.1", "--acme-dir", str(directory),
        bind=[f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port + 1}"],
    )  # fmt: skip
    with Http2(("127.0.0.1", port)) as client:
        for stream, name, expected in [
            (1, b"localhost", (308, f"https://localhost:{port + 1}/environ")),
            (3, b"evil.example", (421, None)),
            (5, b"localhost:%d" % port, (308, f"https://localhost:{port + 1}/environ")),
        ]:
            response = client.request(stream, fields(authority=name))
            assert (response.status, response.field("location")) == expected
        trusted = fields((b"x-forwarded-proto", b"https"))
        assert client.request(7, trusted).status == 200
        client.send(goaway())
    assert server.process.poll() is None


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([(b"x-forwarded-for", b"192.0.2.1")], ("192.0.2.1", "", "http")),
        ([(b"x-forwarded-for", b"192.0.2.1:4711")], ("192.0.2.1", "4711", "http")),
        ([(b"x-forwarded-for", b"6.6.6.6, 192.0.2.1, 10.0.0.1")], ("192.0.2.1", "", "http")),
        ([(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-proto", b"https")],
         ("192.0.2.1", "", "https")),
        ([(b"forwarded", b'for="[2001:db8::1]:81";proto=https')], ("2001:db8::1", "81", "https")),
    ],
)  # fmt: skip
def test_headers_of_trusted_proxies_name_the_client_of_a_stream(shared, more, expected):
    server = shared(
        "environment:app", "--forwarded-allow-ips", "127.0.0.1,10.0.0.0/8",
        *(("--forwarded-headers", "forwarded") if more[0][0] == b"forwarded" else ()),
    )  # fmt: skip
    found = environ(server, *more)
    assert (found["REMOTE_ADDR"], found["REMOTE_PORT"], found["wsgi.url_scheme"]) == expected


def test_streams_of_one_proxy_connection_have_their_own_clients(shared):
    server = shared("environment:app", "--threads", "2")
    with Http2(server.address) as client:
        for number in range(1, 20, 2):
            sent = b"192.0.2.%d" % number
            found = json.loads(client.request(number, fields((b"x-forwarded-for", sent))).body)
            assert found["REMOTE_ADDR"] == sent.decode()
        assert json.loads(client.request(21, fields()).body)["REMOTE_ADDR"] == "127.0.0.1"


def test_headers_of_other_peers_count_for_nothing(shared):
    server = shared("environment:app", "--forwarded-allow-ips", "192.0.2.9")
    more = ((b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-proto", b"https"))
    found = environ(server, *more)
    assert (found["REMOTE_ADDR"], found["wsgi.url_scheme"]) == ("127.0.0.1", "http")


@pytest.mark.parametrize("is_secure", [False, True])
def test_the_proxy_protocol_comes_before_the_preface(shared, certificate, authority, is_secure):
    arguments = ["--proxy-protocol", "v1", *(certificate if is_secure else [])]
    server = shared("environment:app", *arguments)
    header = b"PROXY TCP4 203.0.113.7 192.0.2.7 4711 80\r\n"
    context = authority.client() if is_secure else None
    with Http2(server.address, context=context, before=header) as client:
        scheme = b"https" if is_secure else b"http"
        found = json.loads(client.request(1, fields(scheme=scheme)).body)
    assert (found["REMOTE_ADDR"], found["REMOTE_PORT"]) == ("203.0.113.7", "4711")


def test_a_unix_socket_speaks_http_2_too(start, tmp_path):
    path = str(tmp_path / "socket")
    start("environment:app", bind=[f"unix:{path}"])
    with Http2(path) as client:
        found = json.loads(client.request(1, fields()).body)
    assert found["SERVER_PROTOCOL"] == "HTTP/2.0"


def test_http_2_can_be_switched_off(start, tmp_path, certificate, authority):
    (tmp_path / "settings.toml").write_text("http2 = false\n")
    settings = ("-c", str(tmp_path / "settings.toml"))
    server = start("environment:app", *certificate, *settings)
    context = authority.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(server.address) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            assert client.selected_alpn_protocol() == "http/1.1"
