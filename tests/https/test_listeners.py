"""Which listeners speak TLS, and the certificate that the server makes for this machine."""

import json
import os
import re
import signal
import ssl
import subprocess

import pytest
from harness import eventually, free_port, run
from harness.authority import over_tls
from harness.requirements import require_program


def test_a_tcp_address_speaks_tls_where_there_is_a_certificate(start, authority, certificate):
    server = start("hello:app", *certificate)
    server.wait_for_log(rf"listening at https://127.0.0.1:{server.port}\b")
    assert over_tls(server, authority.client()).status == 200


def test_http_and_unix_addresses_stay_plain(start, tmp_path, certificate):
    port, path = free_port(), tmp_path / "app.sock"
    bind = [f"http://127.0.0.1:{port}", f"unix:{path}", f"https://127.0.0.1:{port + 1}"]
    server = start("hello:app", *certificate, bind=bind)
    for address in (("127.0.0.1", port), str(path)):
        server.address = address
        assert server.get("/").status == 200


def test_the_admin_listener_stays_plain(start, certificate):
    port = free_port()
    server = start("hello:app", *certificate, "--admin-bind", f"127.0.0.1:{port}")
    server.address = ("127.0.0.1", port)

    def is_healthy():
        return server.accepts() and server.get("/healthz", "Host: 127.0.0.1").status in (200, 400)

    eventually(is_healthy, within=10, what="the admin listener answers without TLS")


def test_a_certificate_for_this_machine_is_made_and_kept(start, tmp_path):
    files = ["--domain", "localhost,127.0.0.1", "--acme-dir", str(tmp_path / "acme")]
    seen = set()
    for _ in range(2):
        server = start("hello:app", *files)
        line = server.wait_for_log(r"certificate signed by this server itself: [^)]*")
        context = ssl.create_default_context(cafile=line.split("(")[1])
        with context.wrap_socket(server.connect().socket, server_hostname="localhost") as wire:
            seen.add(wire.getpeercert(binary_form=True))
        assert server.stop() == 0
    assert len(seen) == 1


def test_the_scheme_of_an_address_may_change_at_a_reload(start, tmp_path, authority, certificate):
    settings = tmp_path / "settings.toml"
    flags = dict(zip(certificate[::2], certificate[1::2], strict=True))
    port = free_port()
    plain = f'bind = "http://127.0.0.1:{port}"\n'
    secure = (
        "".join(f'{flag.lstrip("-")} = "{path}"\n' for flag, path in flags.items())
        + f'bind = "https://127.0.0.1:{port}"\n'
    )
    settings.write_text(plain)
    server = start("hello:app", "-c", str(settings), bind=[])
    server.address = ("127.0.0.1", port)
    assert server.get("/").status == 200
    inode = os.readlink(f"/proc/{server.pid}/fd/{listening_descriptor(server.pid, port)}")
    settings.write_text(secure)
    since = len(server.errors)
    server.signal(signal.SIGHUP)
    server.wait_for_log(rf"listening at https://127.0.0.1:{port}\b", since=since)

    def is_secure():
        try:
            return over_tls(server, authority.client()).status == 200
        except (OSError, AssertionError):
            return False

    eventually(is_secure, within=15, what="the new workers speak TLS")
    assert os.readlink(f"/proc/{server.pid}/fd/{listening_descriptor(server.pid, port)}") == inode


def listening_descriptor(pid, port):
    """The descriptor of the socket that listens on this port."""
    wanted = f"{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table][1:]
    inodes = {row[9] for row in rows if row[1].endswith(":" + wanted) and row[3] == "0A"}
    for number in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{number}").strip("socket:[]") in inodes:
            return number
    raise AssertionError(f"process {pid} does not listen on {port}")


@pytest.mark.parametrize(
    ("flags", "protocol"),
    [
        (["--http1.1"], "HTTP/1.1"),
        (["--http1.0"], "HTTP/1.0"),
        (["--http2"], "HTTP/2.0"),
        (["--http1.1", "--tlsv1.3"], "HTTP/1.1"),
        (["--http1.1", "--tls-max", "1.2"], "HTTP/1.1"),
    ],
)
def test_curl_is_served(start, authority, certificate, flags, protocol):
    curl = require_program("curl", package="curl")
    server = start("environment:app", *certificate)
    command = [curl, "--silent", "--show-error", "--cacert", str(authority.certfile), *flags]
    shown = subprocess.run(
        [*command, f"https://127.0.0.1:{server.port}/"], capture_output=True, text=True, timeout=30
    )
    assert shown.returncode == 0, shown.stderr
    environ = json.loads(shown.stdout)
    assert (environ["wsgi.url_scheme"], environ["SERVER_PROTOCOL"]) == ("https", protocol)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--keyfile", "k.pem"], "keyfile = \"k.pem\" (from --keyfile): needs certfile"),
        (["-b", "https://:1"], "needs a certificate: set domain, or certfile and keyfile"),
        (["--domain", "*.a.example"], "dns-01"),
        (["--ca-certs", "c.pem"], "has no effect without cert_reqs"),
        (["--ciphers", "RC4-SHA", "--domain", "localhost"], "ciphers = "),
    ],
)  # fmt: skip
def test_mistakes_name_the_setting_and_what_to_do(tmp_path, arguments, expected):
    said = run("hello:app", "--check-config", "--acme-dir", str(tmp_path), *arguments)
    assert said.returncode == 2, said
    assert expected in said.stderr and "Traceback" not in said.stderr


def test_a_port_that_needs_privileges_says_so(tmp_path):
    """As a user without them; a test that runs as root cannot see it."""
    if os.geteuid() == 0:
        pytest.skip("root may bind every port")
    said = run("hello:app", "--domain", "localhost", "--acme-dir", str(tmp_path))
    assert said.returncode == 1
    assert re.search(r"cannot listen on .*:443: .*CAP_NET_BIND_SERVICE", said.stderr)
