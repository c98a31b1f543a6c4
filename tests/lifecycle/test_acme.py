"""ACME against Pebble, the test CA of Let's Encrypt, and against CAs that misbehave."""

import http.server
import json
import os
import re
import signal
import socket
import ssl
import threading
from pathlib import Path

import pytest
from harness import eventually, free_port
from harness.admin import Admin
from harness.authority import Authority as Issuer
from harness.other_user import open_to_others, reachable_python
from harness.pebble import EAB_KEY, Authority, Pebble, presented
from harness.process import children

NAME = "shop.example"


@pytest.fixture
def pebble(tmp_path):
    """Starts Pebble for a server with the ports `.http_port` and `.tls_port`."""
    started = []

    def start(*, http_port=None, tls_port=None, **options):
        directory = tmp_path / f"pebble{len(started)}"
        http_port = free_port() if http_port is None else http_port
        tls_port = free_port() if tls_port is None else tls_port
        one = Pebble(directory, http_port=http_port, tls_port=tls_port, **options)
        started.append(one)
        return one

    yield start
    for one in started:
        one.end()


class Site:
    """A server that gets its certificate from a CA."""

    def __init__(self, start, tmp_path, *arguments, names=(NAME,), **options):
        self.http_port, self.tls_port = free_port(), free_port()
        self.acme_dir = tmp_path / "acme"
        self.start = start
        domains = [argument for name in names for argument in ("--domain", name)]
        self.arguments = [*domains, *arguments]
        self.options = options
        self.server = None

    def run(self, *arguments):
        binds = [f"https://127.0.0.1:{self.tls_port}", f"http://127.0.0.1:{self.http_port}"]
        self.server = self.start(
            "hello:app", *self.arguments, *arguments, bind=binds, **self.options
        )
        return self.server

    def certificate(self, trust, name=NAME):
        return presented(self.tls_port, name, trust)

    def wait_for_certificate(self, trust, name=NAME, within=40):
        return eventually(
            lambda: self.certificate(trust, name), within=within, what=f"a certificate of {name}"
        )

    def serves(self):
        """Whether a handshake succeeds, whatever the certificate is."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.tls_port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=NAME) as secure,
        ):
            secure.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
            return secure.recv(100).startswith(b"HTTP/1.1 200 ")


def acme_process(server):
    """The pid of the ACME process, once there is one."""

    def find():
        for pid in children(server.pid):
            try:
                with open(f"/proc/{pid}/comm") as file:
                    name = file.read().strip()
            except FileNotFoundError:
                continue
            if name.endswith("-acme"):
                return pid
        return None

    return eventually(find, what="the ACME process")


@pytest.mark.slow
@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
def test_a_site_gets_its_certificate_and_keeps_it(start, tmp_path, pebble, challenge):
    site = Site(start, tmp_path)
    # The other kind of challenge fails, because nothing listens at its port.
    ports = (
        {"tls_port": site.tls_port} if challenge == "tls-alpn-01" else {"http_port": site.http_port}
    )
    ca = pebble(**ports)
    server = site.run(*ca.arguments(site.acme_dir))
    trust = ca.trust()
    assert site.certificate(trust) is None, "a self-signed one until the CA has answered"
    assert site.serves()
    certificate = site.wait_for_certificate(trust)
    assert ("DNS", NAME) in certificate["subjectAltName"]
    server.wait_for_log(f"certificate for {NAME} obtained from {ca.url}: valid until")
    issued = site.acme_dir / "certificates" / f"{NAME}.pem"
    assert issued.stat().st_mode & 0o777 == 0o600
    assert not list((site.acme_dir / "challenges").glob("*/*"))
    state = json.loads((site.acme_dir / "state" / f"{NAME}.json").read_text())
    assert (state["failures"], state["last_error"]) == (0, "")
    # After a restart it is there at once, and the CA is not asked.
    assert server.stop() == 0
    before = ca.log.read_text().count("POST")
    site.run(*ca.arguments(site.acme_dir))
    assert site.certificate(trust)["serialNumber"] == certificate["serialNumber"]
    acme_process(site.server)
    assert ca.log.read_text().count("POST") == before


@pytest.mark.slow
def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left(start, tmp_path, pebble):
    site = Site(start, tmp_path)
    ca = pebble(http_port=site.http_port, tls_port=site.tls_port, validity=45)
    site.run(*ca.arguments(site.acme_dir))
    trust = ca.trust()
    seen = set()

    def renewed():
        certificate = site.certificate(trust)
        # It never presents one that has expired.
        if seen:
            assert certificate is not None
        if certificate is not None:
            seen.add(certificate["serialNumber"])
        return len(seen) == 3

    eventually(renewed, within=105, what="two renewals")


@pytest.mark.slow
def test_half_of_all_nonces_may_be_refused(start, tmp_path, pebble):
    site = Site(start, tmp_path)
    environment = {"PEBBLE_WFE_NONCEREJECT": "50"}
    ca = pebble(http_port=site.http_port, tls_port=site.tls_port, environment=environment)
    site.run(*ca.arguments(site.acme_dir))
    site.wait_for_certificate(ca.trust())


@pytest.mark.slow
def test_a_ca_that_cannot_verify_the_name_is_asked_later(start, tmp_path, pebble):
    site = Site(start, tmp_path)
    ca = pebble()
    server = site.run(*ca.arguments(site.acme_dir))
    line = server.wait_for_log(f"no certificate for {NAME}: .*", within=40)
    assert "the CA could not verify tls-alpn-01: " in line
    assert "; the CA could not verify http-01: " in line
    # A minute, and up to a fifth of it more.
    assert "port 443" in line and re.search("next attempt in [67][0-9] s", line)
    assert site.serves()
    state = json.loads((site.acme_dir / "state" / f"{NAME}.json").read_text())
    assert state["failures"] == 1


@pytest.mark.slow
def test_an_external_account_is_bound(start, tmp_path, pebble):
    site = Site(start, tmp_path)
    ca = pebble(
        http_port=site.http_port,
        tls_port=site.tls_port,
        externalAccountBindingRequired=True,
        externalAccountMACKeys={"kid-1": EAB_KEY},
    )
    server = site.run(*ca.arguments(site.acme_dir))
    line = server.wait_for_log(f"no certificate for {NAME}: .*", within=20)
    assert "set acme_eab_key_id" in line
    assert server.stop() == 0
    key = tmp_path / "eab.key"
    key.write_text(EAB_KEY)
    account = ["--acme-eab-key-id", "kid-1", "--acme-eab-hmac-key-file", str(key)]
    # The first attempt after a restart comes a minute after the last one; its state is forgotten.
    (site.acme_dir / "state" / f"{NAME}.json").unlink()
    site.run(*ca.arguments(site.acme_dir), *account)
    site.wait_for_certificate(ca.trust())


@pytest.mark.slow
def test_servers_that_share_the_directory_order_once(start, tmp_path, pebble):
    one, two = Site(start, tmp_path), Site(start, tmp_path)
    ca = pebble(http_port=one.http_port, tls_port=one.tls_port)
    for site in (one, two):
        site.run(*ca.arguments(site.acme_dir))
    trust = ca.trust()
    serials = {site.wait_for_certificate(trust)["serialNumber"] for site in (one, two)}
    assert len(serials) == 1
    logs = one.server.errors + two.server.errors
    assert logs.count(f"certificate for {NAME} obtained") == 1


@pytest.mark.slow
def test_a_reload_brings_another_name(start, tmp_path, pebble):
    site = Site(start, tmp_path, names=())
    ca = pebble(http_port=site.http_port, tls_port=site.tls_port)
    file = tmp_path / "lockgate.toml"
    file.write_text(f'domain = ["{NAME}"]\n')
    server = site.run("--config", str(file), *ca.arguments(site.acme_dir))
    trust = ca.trust()
    first = acme_process(server)
    site.wait_for_certificate(trust)
    file.write_text(f'domain = ["{NAME}", "www.{NAME}"]\n')
    server.signal(signal.SIGHUP)
    site.wait_for_certificate(trust, f"www.{NAME}")
    assert site.certificate(trust) is not None
    assert acme_process(server) != first


@pytest.mark.slow
def test_the_server_outlives_its_acme_process(start, tmp_path):
    site = Site(start, tmp_path)
    directory = f"https://127.0.0.1:{free_port()}/dir"
    server = site.run("--acme-directory", directory, "--acme-dir", str(site.acme_dir))
    for _ in range(2):
        pid = acme_process(server)
        os.kill(pid, signal.SIGKILL)
        server.wait_for_log(rf"the ACME process \(pid {pid}\) was killed by .*; restarted in")
        assert site.serves()
    # The new version of the server starts its own.
    before = acme_process(server)
    server.signal(signal.SIGUSR2)
    eventually(lambda: acme_process(server) != before, within=40, what="another ACME process")
    last = acme_process(server)
    assert not os.path.exists(f"/proc/{before}")
    assert site.serves()
    assert server.stop() == 0
    assert not os.path.exists(f"/proc/{last}")


def test_a_process_without_names_to_obtain_stays(start, tmp_path):
    """The certificate of a file covers the name, which `domain` has for the redirect."""
    pair = Issuer(tmp_path).issue("shop", f"DNS:{NAME}")
    files = ["--certfile", str(pair[0]), "--keyfile", str(pair[1])]
    site = Site(start, tmp_path, *files)
    server = site.run("--acme-dir", str(site.acme_dir))
    acme_process(server)
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"reload: done in")
    assert site.serves()
    assert "the ACME process" not in server.errors


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
def test_workers_of_another_user_answer_the_ca_and_read_no_key(start, tmp_path, pebble):
    open_to_others(tmp_path)
    user = ["--user", "12345", "--group", "12345"]
    site = Site(start, tmp_path, *user, prefix=reachable_python(tmp_path))
    ca = pebble(http_port=site.http_port)
    server = site.run(*ca.arguments(site.acme_dir))
    site.wait_for_certificate(ca.trust())
    assert Path(f"/proc/{acme_process(server)}").stat().st_uid == 0
    assert Path(f"/proc/{server.workers()[0]}").stat().st_uid == 12345
    for path in site.acme_dir.rglob("*"):
        is_public = path.parent.name in ("state", "http-01") or path.is_dir()
        assert is_public or path.stat().st_mode & 0o077 == 0, path
        assert path.stat().st_uid == 0


@pytest.mark.slow
def test_operators_see_the_next_attempt(start, tmp_path):
    closed = f"https://127.0.0.1:{free_port()}/dir"
    site = Site(start, tmp_path)
    arguments = ["--domain", NAME, "--acme-directory", closed, "--acme-dir", str(site.acme_dir)]
    bind = [f"https://127.0.0.1:{site.tls_port}"]
    admin = Admin(start, tmp_path, "hello:app", *arguments, bind=bind)
    line = admin.server.wait_for_log(f"no certificate for {NAME}: .*", within=40)
    assert f"{closed} does not answer: " in line and "check the network" in line
    [renewal] = admin.status()["renewals"]
    assert (renewal["name"], renewal["failures"]) == (NAME, 1)
    assert renewal["next_attempt"] > renewal["last_attempt"]
    samples = admin.samples()
    assert samples[f'lockgate_acme_failures{{name="{NAME}"}}'] == 1
    assert samples[f'lockgate_acme_last_success_timestamp_seconds{{name="{NAME}"}}'] == 0


class Nonsense(http.server.BaseHTTPRequestHandler):
    """A CA that answers each request in one wrong way, which the path names."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        kind = self.path.strip("/")
        if kind == "html":
            self.answer(200, b"<html>It works!</html>", "text/html")
        elif kind == "error":
            self.answer(500, b"<html>Oops</html>", "text/html")
        elif kind == "loop":
            self.answer(302, b"", "text/html", Location=self.path)
        elif kind == "empty":
            self.answer(200, b"{}", "application/json")
        elif kind == "urls":
            urls = {"newNonce": "http://x/", "newAccount": "file:///etc/passwd", "newOrder": "x"}
            self.answer(200, json.dumps(urls).encode(), "application/json")
        elif kind == "endless":
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            try:
                while True:
                    self.wfile.write(b"[" * 65536)
            except OSError:
                pass
        elif kind == "binary":
            self.wfile.write(b"\x00\xff\x00 nonsense\r\n\r\n" * 100)
            self.close_connection = True

    def answer(self, status, body, content_type, **headers):
        self.send_response(status)
        for name, value in {"Content-Type": content_type, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def nonsense(tmp_path_factory):
    """Address and trust anchor of a CA that answers nonsense."""
    authority = Authority(tmp_path_factory.mktemp("nonsense"))
    certificate, key = authority.issue("nonsense")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nonsense)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}", authority.certificate
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("html", r"answers 200 with text/html \(22 bytes\) instead of a JSON object"),
        ("error", r"answers 500 with text/html \(17 bytes\)"),
        ("loop", r"redirects \(302\) to /loop, which ACME does not allow"),
        ("empty", 'answers without the member "newNonce"'),
        ("urls", 'has no https URL as "newNonce": http://x/'),
        ("endless", "answers with more than 262144 bytes"),
        ("binary", "does not answer"),
    ],
)
def test_nonsense_is_one_line_and_the_server_serves(start, tmp_path, nonsense, kind, expected):
    base, anchor = nonsense
    site = Site(start, tmp_path)
    arguments = ["--acme-ca-certs", str(anchor), "--acme-dir", str(site.acme_dir)]
    server = site.run("--acme-directory", f"{base}/{kind}", *arguments)
    pattern = rf"no certificate for {NAME}: {base}/{kind} {expected}.*; next attempt in \d+ s"
    server.wait_for_log(pattern, within=40)
    assert server.errors.count("no certificate for") == 1
    assert site.serves()


@pytest.mark.slow
def test_a_ca_with_an_unknown_certificate_is_not_trusted(start, tmp_path, nonsense):
    base, _ = nonsense
    site = Site(start, tmp_path)
    server = site.run("--acme-directory", f"{base}/html", "--acme-dir", str(site.acme_dir))
    line = server.wait_for_log(f"no certificate for {NAME}: .*", within=40)
    assert "acme_ca_certs" in line
