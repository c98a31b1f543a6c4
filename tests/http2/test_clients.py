"""Programs and libraries that speak HTTP/2: over TLS, and without it by prior knowledge."""

import json
import re
import subprocess

import httpx
import pytest
from harness.requirements import require_program

SCHEMES = ["http", "https"]


@pytest.fixture(scope="module")
def servers(shared, certificate):
    """A server for each scheme."""
    arguments = ("environment:app", "--threads", "2")
    return {"http": shared(*arguments), "https": shared(*arguments, *certificate)}


@pytest.fixture(scope="module")
def wires(shared, certificate):
    """The same with bodies of chosen sizes."""
    arguments = ("wire_app:app", "--threads", "4")
    return {"http": shared(*arguments), "https": shared(*arguments, *certificate)}


def url(server, scheme, target="/"):
    return f"{scheme}://localhost:{server.port}{target}"


def finished(*command):
    """What a program has printed."""
    ended = subprocess.run(list(map(str, command)), capture_output=True, timeout=60, check=False)
    assert ended.returncode == 0, ended
    return ended.stdout


@pytest.fixture
def curl(authority):
    """Runs curl; gives the protocol, the status and the body."""
    program = require_program("curl", package="curl")
    if b"HTTP2" not in finished(program, "--version"):
        pytest.skip("this curl has no HTTP/2")

    def run(*arguments):
        written = ["-w", "\n%{http_version} %{http_code}"]
        command = [program, "-sS", "--cacert", authority.certfile, *written, *arguments]
        # One line for each transfer: the last one counts.
        body, _, last = finished(*command).rpartition(b"\n")
        version, status = last.decode().split()
        return version, int(status), body

    return run


@pytest.mark.parametrize("scheme", SCHEMES)
def test_curl_sees_http_2_and_the_application_too(servers, curl, scheme):
    server = servers[scheme]
    flag = "--http2" if scheme == "https" else "--http2-prior-knowledge"
    version, status, body = curl(flag, url(server, scheme, "/a?b=c"))
    environ = json.loads(body)
    assert (version, status) == ("2", 200)
    assert environ["SERVER_PROTOCOL"] == "HTTP/2.0"
    assert environ["wsgi.url_scheme"] == scheme
    assert environ["HTTP_HOST"] == f"localhost:{server.port}"
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a", "b=c")


def test_an_upgrade_from_http_1_is_answered_in_http_1(servers, curl):
    version, status, body = curl("--http2", url(servers["http"], "http"))
    assert (version, status) == ("1.1", 200)
    assert json.loads(body)["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_a_client_chooses_http_1_over_tls(servers, curl):
    for flag, expected in [("--http1.1", "1.1"), ("--http2", "2")]:
        assert curl(flag, url(servers["https"], "https"))[:2] == (expected, 200), flag


@pytest.mark.parametrize("scheme", SCHEMES)
def test_curl_uploads_a_file(wires, curl, tmp_path, scheme):
    sent = bytes(range(256)) * 4_000
    (tmp_path / "sent").write_bytes(sent)
    flag = "--http2" if scheme == "https" else "--http2-prior-knowledge"
    data = ("--data-binary", f"@{tmp_path}/sent")
    assert curl(flag, *data, url(wires[scheme], scheme)) == ("2", 200, b"POST / " + sent)


def test_curl_downloads_several_files_at_once_over_one_connection(wires, curl, tmp_path):
    """Over TLS: with prior knowledge curl 7.88 fails at the second transfer, also with nginx."""
    where = url(wires["https"], "https", "/large?megabytes=10")
    names = [tmp_path / name for name in ("a", "b", "c")]
    curl("--http2", "--parallel", *(word for name in names for word in ("-o", name, where)))
    for name in names:
        assert name.read_bytes() == bytes(range(256)) * 40_960


@pytest.mark.parametrize("scheme", SCHEMES)
def test_httpx_keeps_one_connection_for_many_requests(servers, authority, scheme):
    server = servers[scheme]
    ports = set()
    with httpx.Client(http1=False, http2=True, verify=authority.client()) as client:
        for number in range(20):
            response = client.get(url(server, scheme, f"/{number}"))
            assert (response.http_version, response.status_code) == ("HTTP/2", 200)
            environ = response.json()
            assert environ["PATH_INFO"] == f"/{number}"
            assert environ["REMOTE_ADDR"] == "127.0.0.1"
            ports.add(environ["REMOTE_PORT"])
    assert len(ports) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nghttp_finds_no_fault(wires, scheme):
    program = require_program("nghttp", package="nghttp2-client")
    where = [url(wires[scheme], scheme, f"/large?megabytes={number}") for number in (1, 2, 3)]
    said = finished(program, "-nv", "--no-verify-peer", *where).decode("utf-8", "replace")
    assert len(re.findall(r":status: 200", said)) == 3, said[-2000:]
    assert "RST_STREAM" not in said and "INVALID" not in said, said[-2000:]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("target", ["/", "/large?megabytes=1", "/stream?pieces=50", "/file"])
def test_h2load_gets_every_response(wires, scheme, target):
    program = require_program("h2load", package="nghttp2-client")
    where = url(wires[scheme], scheme, target)
    said = finished(program, "-n", "400", "-c", "4", "-m", "16", where).decode()
    assert "Application protocol: h2" in said, said
    assert "400 succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert "status codes: 400 2xx" in said, said
