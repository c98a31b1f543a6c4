"""TLS from outside: clients of OpenSSL, and curl; the openssl command makes the certificates."""

import contextlib
import json
import shutil
import socket
import ssl
import subprocess

import pytest
from harness import eventually, free_port

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl command makes the certificates"
)
REQUEST = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Site:
    """Certificates in a directory, and how a client trusts them."""

    def __init__(self, directory):
        self.directory = directory

    def make(self, label, name, key="ec"):
        chain, keyfile = self.directory / f"{label}.crt", self.directory / f"{label}.key"
        algorithm = {
            "ec": ("ec", "ec_paramgen_curve:P-256"),
            "rsa": ("rsa", "rsa_keygen_bits:2048"),
        }
        kind, parameter = algorithm[key]
        # Written beside and moved: the server may look at any moment.
        new_chain, new_key = chain.with_suffix(".crt.new"), keyfile.with_suffix(".key.new")
        openssl(
            *("req", "-x509", "-newkey", kind, "-pkeyopt", parameter, "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=DNS:{name}", "-days", 30, "-out", new_chain),
            *("-keyout", new_key, "-nodes"),
        )
        new_key.replace(keyfile)
        new_chain.replace(chain)
        return chain, keyfile

    def context(self, *chains, version=None):
        context = ssl.create_default_context()
        for chain in chains:
            context.load_verify_locations(chain)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def connect(port, context, name="shop.example", session=None):
    raw = socket.create_connection(("127.0.0.1", port), timeout=15)
    return context.wrap_socket(raw, server_hostname=name, session=session)


def exchange(wire, data=REQUEST):
    wire.sendall(data)
    received = b""
    while b"\r\n\r\n" not in received:
        received += wire.recv(65536)
    head, body = received.split(b"\r\n\r\n", 1)
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    while len(body) < length:
        body += wire.recv(65536)
    return head, body


@pytest.fixture
def serve(start):
    def serve(*arguments, workers=1, app="hello:app"):
        port = free_port()
        server = start(app, *arguments, workers=workers, bind=[f"https://127.0.0.1:{port}"])
        server.port = port
        return server

    return serve


def files(chain, keyfile):
    return ("--certfile", str(chain), "--keyfile", str(keyfile))


def fingerprint(wire):
    return wire.getpeercert(binary_form=True)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_a_verified_client_of_each_version_gets_its_response(site, serve, version, key):
    chain, keyfile = site.make("shop", "shop.example", key)
    server = serve(*files(chain, keyfile))
    with connect(server.port, site.context(chain, version=version)) as wire:
        for _ in range(3):
            assert exchange(wire)[0].startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_by_any_of_four_workers_and_across_a_reload(site, serve, version):
    chain, keyfile = site.make("shop", "shop.example")
    server = serve(*files(chain, keyfile), workers=4)
    context = site.context(chain, version=version)
    session, reused = None, []

    def visit():
        nonlocal session
        with connect(server.port, context, session=session) as wire:
            exchange(wire)
            reused.append(wire.session_reused)
            session = wire.session

    for _ in range(50):
        visit()
    before = set(server.workers())
    server.process.send_signal(1)
    eventually(lambda: before.isdisjoint(server.workers()), within=30, what="new workers")
    for _ in range(50):
        visit()
    assert not reused[0]
    assert reused[1:].count(True) == 99


def test_certificates_are_chosen_by_name(site, serve):
    shop = site.make("shop", "shop.example")
    wild = site.make("wild", "*.shop.example")
    rsa = site.make("rsa", "shop.example", "rsa")
    pairs = [f"{chain}:{keyfile}" for chain, keyfile in (wild, rsa)]
    server = serve(*files(*shop), "--certificates", ",".join(pairs))
    context = site.context(shop[0], wild[0], rsa[0])
    seen = {}
    for name in ("shop.example", "www.shop.example"):
        with connect(server.port, context, name) as wire:
            seen[name] = fingerprint(wire)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        connect(server.port, context, "other.example")
    assert seen["shop.example"] == ssl.PEM_cert_to_DER_cert(shop[0].read_text())
    assert seen["www.shop.example"] == ssl.PEM_cert_to_DER_cert(wild[0].read_text())
    context = site.context(rsa[0], version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE+aRSA")
    with connect(server.port, context) as wire:
        assert fingerprint(wire) == ssl.PEM_cert_to_DER_cert(rsa[0].read_text())


def test_a_new_certificate_is_for_new_connections_and_a_broken_one_changes_nothing(site, serve):
    chain, keyfile = site.make("shop", "shop.example")
    old = ssl.PEM_cert_to_DER_cert(chain.read_text())
    server = serve(*files(chain, keyfile))
    with connect(server.port, site.context(chain)) as kept:
        assert fingerprint(kept) == old
        site.make("shop", "shop.example")
        new = ssl.PEM_cert_to_DER_cert(chain.read_text())

        def current():
            with connect(server.port, ssl._create_unverified_context()) as wire:
                return fingerprint(wire)

        eventually(lambda: current() == new, within=20, what="the new certificate")
        exchange(kept)
        chain.write_text("nonsense")
        server.wait_for_log(r"no certificate found", within=20)
        assert current() == new
        exchange(kept)


def test_a_handshake_byte_by_byte_holds_no_other_client_up(site, serve):
    chain, keyfile = site.make("shop", "shop.example")
    server = serve(*files(chain, keyfile), "--threads", "1")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    slow = site.context(chain).wrap_bio(incoming, outgoing, server_hostname="shop.example")
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as raw:
        is_done = False
        while not is_done:
            with contextlib.suppress(ssl.SSLWantReadError):
                slow.do_handshake()
                is_done = True
            flight = outgoing.read()
            for at in range(len(flight)):
                raw.sendall(flight[at : at + 1])
                if at % 400 == 0:
                    with connect(server.port, site.context(chain)) as wire:
                        exchange(wire)
            if not is_done:
                incoming.write(raw.recv(65536))
        slow.write(REQUEST)
        raw.sendall(outgoing.read())
        incoming.write(raw.recv(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            assert slow.read(65536).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_says_nothing_is_cut_off(site, serve):
    chain, keyfile = site.make("shop", "shop.example")
    server = serve(*files(chain, keyfile), "--tls-handshake-timeout", "1", "--log-level", "debug")
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as raw:
        assert raw.recv(100) == b""
    server.wait_for_log(r"TLS handshake with 127\.0\.0\.1 failed: it took too long")


def test_http_on_the_port_of_tls_gets_a_helpful_answer(site, serve):
    chain, keyfile = site.make("shop", "shop.example")
    access_log = site.directory / "access.log"
    logs = ("--log-level", "debug", "--access-logfile", str(access_log))
    server = serve(*files(chain, keyfile), *logs, "--access-logformat", "json")
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as raw:
        raw.sendall(REQUEST)
        received = b""
        while data := raw.recv(65536):
            received += data
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"this port speaks HTTPS" in received
    server.wait_for_log("the client speaks HTTP without TLS")
    server.stop()
    (line,) = map(json.loads, access_log.read_text().splitlines())
    assert (line["method"], line["target"], line["status"]) == ("GET", "/", 400)
    assert (line["outcome"], line["reason"]) == ("refused", "http_on_tls_port")


def test_an_encrypted_key_is_read_with_its_password_file(site, serve):
    chain, plain = site.make("shop", "shop.example")
    keyfile, password = plain.with_suffix(".encrypted"), site.directory / "password"
    openssl(
        *("pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:open sesame"),
        *("-in", plain, "-out", keyfile),
    )
    password.write_text("open sesame\n")
    server = serve(*files(chain, keyfile), "--keyfile-password-file", str(password))
    with connect(server.port, site.context(chain)) as wire:
        exchange(wire)


def test_the_end_of_a_connection_is_announced(site, serve):
    chain, keyfile = site.make("shop", "shop.example")
    server = serve(*files(chain, keyfile))
    context = site.context(chain)
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as raw:
        wire = context.wrap_socket(raw, server_hostname="shop.example", suppress_ragged_eofs=False)
        wire.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = b""
        while data := wire.recv(65536):
            received += data
        assert received.startswith(b"HTTP/1.1 200 ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is the client")
def test_curl_sends_and_receives_megabytes(site, serve, tmp_path):
    chain, keyfile = site.make("shop", "shop.example")
    server = serve(*files(chain, keyfile), app="streaming:echo")
    body = tmp_path / "body"
    body.write_bytes(bytes(range(256)) * 20_000)
    for version in ("--http1.1", "--http2"):
        answer = subprocess.run(
            [
                *("curl", "-sS", version, "--cacert", str(chain), "--data-binary", f"@{body}"),
                *("--resolve", f"shop.example:{server.port}:127.0.0.1"),
                f"https://shop.example:{server.port}/",
            ],
            capture_output=True,
            check=True,
        )
        assert answer.stdout == body.read_bytes(), version
