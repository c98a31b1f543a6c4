"""Client certificates by path: names and groups, over both protocols."""

import json

import pytest
from harness import Wire, request
from harness.authority import Authority
from harness.http2 import Http2

SUBJECTS = {
    "alice": "/O=Shop/OU=billing/OU=staff/CN=alice",
    "bob": "/O=Shop/OU=staff/CN=bob",
    "carol": "/O=Shop/CN=carol",
    "billing": "/O=billing/CN=billing",
    "staff2": "/O=Shop/OU=staff, billing/CN=staff2",
}
CLIENTS = [None, *SUBJECTS]

#: Path, and which clients may come.
RULES = [
    ("/", CLIENTS),
    ("/any", list(SUBJECTS)),
    ("/any/open", CLIENTS),
    ("/names", ["alice", "carol"]),
    ("/groups", ["alice", "bob"]),
    ("/billing", ["alice"]),
    ("/both", ["bob"]),
    ("/%62oth", ["bob"]),
    ("/BOTH/x", ["bob"]),
]


@pytest.fixture(scope="module")
def certificates(authority):
    return {name: authority.issue(name, subject=subject) for name, subject in SUBJECTS.items()}


@pytest.fixture(scope="module")
def server(shared, authority, certificate, tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "lockgate.toml"
    path.write_text(f'''
        cert_reqs = "optional"
        ca_certs = "{authority.certfile}"
        [[route]]
        path = "/any"
        client_certificate = true
        [[route]]
        path = "/any/open"
        client_certificate = false
        [[route]]
        path = "/names"
        client_certificate = {{ names = ["alice", "carol"] }}
        [[route]]
        path = "/groups"
        client_certificate = {{ groups = ["staff", "other"] }}
        [[route]]
        path = "/billing"
        client_certificate = {{ groups = ["billing"] }}
        [[route]]
        path = "/both"
        client_certificate = {{ names = ["bob", "carol"], groups = ["staff"] }}
    ''')
    return shared("guarded:app", "--config", str(path), *certificate)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_path_is_for_certain_certificates(server, authority, certificates, client):
    context = authority.client(*certificates[client] if client else ())
    expected = {path: 200 if client in allowed else 403 for path, allowed in RULES}
    with Wire(server.address) as wire:
        wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost")
        found = {}
        for path in expected:
            wire.send(request("GET", path))
            found[path] = wire.response().status
    assert found == expected
    context = authority.client(*certificates[client] if client else ())
    with Http2(server.address, context=context) as connection:
        for number, (path, status) in enumerate(expected.items()):
            fields = [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":path", path.encode()),
                (b":authority", b"localhost"),
            ]
            assert connection.request(2 * number + 1, fields).status == status, path


def test_a_body_is_not_received_without_a_certificate(server, authority):
    context = authority.client()
    with Wire(server.address) as wire:
        wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost")
        wire.send(
            b"POST /any HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert wire.response().status == 403


def test_what_a_client_says_about_a_certificate_is_none(server, authority):
    context = authority.client()
    fields = ["SSL_CLIENT_S_DN_CN: bob", "SSL-Client-S-DN-CN: bob", "X-SSL-Client-CN: bob"]
    with Wire(server.address) as wire:
        wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost")
        wire.send(request("GET", "/both", *fields))
        assert wire.response().status == 403
        wire.send(request("GET", "/"))
        assert "SSL_CLIENT_S_DN_CN" not in json.loads(wire.response().body)


def test_a_certificate_of_another_authority_ends_the_handshake(server, authority, tmp_path_factory):
    other = Authority(tmp_path_factory.mktemp("other"), "another CA")
    context = authority.client(*other.issue("bob", subject=SUBJECTS["bob"]))
    with Wire(server.address) as wire, pytest.raises(OSError):
        wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost")
        wire.send(request("GET", "/"))
        wire.socket.recv(1)
