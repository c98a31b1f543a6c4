"""What the application sees of a TLS connection, and of a client's certificate."""

import json
import ssl
import time

import pytest
from harness import Wire, eventually, request
from harness.authority import Authority, over_tls

FORGED = [
    "HTTPS: on",
    "SSL-CLIENT-VERIFY: SUCCESS",
    "SSL_CLIENT_S_DN_CN: root",
    "REMOTE_USER: root",
]


@pytest.fixture(scope="module")
def plainly(shared, certificate):
    """TLS with no further setting."""
    return shared("environment:app", *certificate)


@pytest.fixture(scope="module")
def mutual(shared, authority, certificate):
    """Clients may have a certificate."""
    trust = ["--ca-certs", str(authority.certfile), "--cert-reqs", "optional"]
    return shared(
        "environment:app",
        *certificate,
        *trust,
        "--client-certificate-user",
        "cn",
        "--access-logfile",
        "-",
    )


@pytest.fixture(scope="module")
def alice(authority):
    subject = "/C=DE/O=Lockgäte/CN=alice"
    return authority.issue("alice", "email:alice@shop.example", subject=subject)


def environ_of(server, context, *headers):
    data = request("GET", "/", *headers, "Connection: close")
    response = over_tls(server, context, data)
    assert response.status == 200, response
    return json.loads(response.body)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_scheme_is_https_and_nothing_else_is_added(plainly, authority, version):
    context = authority.client()
    context.minimum_version = context.maximum_version = version
    environ = environ_of(plainly, context, *FORGED)
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["SERVER_PORT"] == str(plainly.port)
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["HTTP_HOST"] == "lockgate.test"
    added = [key for key in environ if key.startswith(("SSL_", "HTTPS")) or key == "REMOTE_USER"]
    assert added == []


def test_ssl_variables_have_the_names_of_mod_ssl(start, authority, certificate):
    server = start("environment:app", *certificate, "--ssl-variables")
    context = authority.client()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    environ = environ_of(server, context, *FORGED)
    assert environ["HTTPS"] == "on"
    assert environ["SSL_PROTOCOL"] == "TLSv1.3"
    assert environ["SSL_CIPHER"].startswith("TLS_")
    assert environ["SSL_TLS_SNI"] == "localhost"
    assert environ["SSL_CLIENT_VERIFY"] == "NONE"
    assert not any(key.startswith("SSL_CLIENT_S") for key in environ)
    assert "REMOTE_USER" not in environ


def test_a_clients_certificate_is_described_and_names_the_user(mutual, authority, alice):
    basic = "Authorization: Basic cm9vdDo="
    environ = environ_of(mutual, authority.client(*alice), *FORGED, basic)
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert environ["SSL_CLIENT_S_DN_CN"] == "alice"
    # The bytes of UTF-8 as Latin-1, as everywhere in environ.
    assert environ["SSL_CLIENT_S_DN_O"].encode("latin-1").decode() == "Lockgäte"
    assert environ["SSL_CLIENT_I_DN_CN"] == "Lockgate test CA"
    assert environ["SSL_CLIENT_SAN_Email_0"] == "alice@shop.example"
    assert environ["SSL_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----")
    assert environ["REMOTE_USER"] == "alice"
    eventually(lambda: " - alice [" in mutual.output, within=5, what="the access log names alice")


def test_a_client_without_a_certificate_has_no_user(mutual, authority):
    environ = environ_of(mutual, authority.client(), *FORGED)
    assert environ["SSL_CLIENT_VERIFY"] == "NONE"
    assert "REMOTE_USER" not in environ and "SSL_CLIENT_S_DN" not in environ


@pytest.mark.parametrize(
    ("part", "user"),
    [("email", "alice@shop.example"), ("dn", "CN=alice,O=Lockgäte,C=DE")],
)
def test_another_part_of_the_certificate_may_be_the_user(
    start, authority, certificate, alice, part, user
):
    trust = ["--ca-certs", str(authority.certfile), "--cert-reqs", "2"]
    server = start("environment:app", *certificate, *trust, "--client-certificate-user", part)
    environ = environ_of(server, authority.client(*alice))
    assert environ["REMOTE_USER"].encode("latin-1").decode() == user


def test_a_certificate_that_is_required_is_required(start, tmp_path, authority, certificate):
    trust = ["--ca-certs", str(authority.certfile), "--cert-reqs", "required"]
    server = start("environment:app", *certificate, *trust)
    untrusted = Authority(tmp_path, "another CA").issue("mallory")
    for context in (authority.client(), authority.client(*untrusted)):
        with pytest.raises((ssl.SSLError, OSError, AssertionError)):
            over_tls(server, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_ends_with_the_certificate_it_began_with(mutual, authority, version):
    """Resumption verifies no certificate, and each resumed session gets another ticket."""
    expiry = int(time.time()) + 4
    context = authority.client(*authority.issue_until(f"brief{version}", expiry))
    context.minimum_version = context.maximum_version = version

    def visit(session):
        with Wire(mutual.address) as wire:
            wire.socket = secure = context.wrap_socket(
                wire.socket, server_hostname="localhost", session=session
            )
            wire.send(request("GET", "/", "Connection: close"))
            assert json.loads(wire.response().body)["SSL_CLIENT_VERIFY"] == "SUCCESS"
            return secure.session_reused, secure.session

    is_resumed, session = visit(None)
    assert not is_resumed
    is_resumed, session = visit(session)
    assert is_resumed
    eventually(lambda: time.time() > expiry + 1.5, within=20, what="the expiry")
    with pytest.raises((ssl.SSLError, OSError, AssertionError)):
        visit(session)


def test_the_variables_are_those_of_the_connection(mutual, authority, alice):
    """Threads and request buffers are reused between connections."""
    bob = authority.issue("bob")
    clients = {"alice": authority.client(*alice), "bob": authority.client(*bob), None: None}
    for _ in range(3):
        for name, context in clients.items():
            environ = environ_of(mutual, context or authority.client())
            assert environ.get("REMOTE_USER") == name


def test_https_behind_a_proxy_on_a_unix_socket_needs_no_tls(start, tmp_path, certificate):
    path = tmp_path / "app.sock"
    server = start("environment:app", *certificate, "--ssl-variables", bind=[f"unix:{path}"])
    server.address = str(path)
    environ = json.loads(server.get("/", "X-Forwarded-Proto: https").body)
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["SERVER_PORT"] == "443"
    assert "HTTPS" not in environ and "SSL_PROTOCOL" not in environ


V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n"


def test_a_proxy_header_comes_before_the_handshake(start, authority, certificate):
    server = start("environment:app", *certificate, "--proxy-protocol")
    for before in (V1, b"PROXY UNKNOWN\r\n"):
        environ = json.loads(over_tls(server, authority.client(), before=before).body)
        expected = "192.0.2.1" if before == V1 else "127.0.0.1"
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (expected, "https")
    with pytest.raises(OSError):
        over_tls(server, authority.client())
    server.wait_for_log("refused a connection from 127.0.0.1")
