"""Clients decode what is encoded with a jitter of its length: browsers, tools and libraries."""

import json
import shutil
import subprocess
from base64 import b64encode

import httpx
import pytest
import requests
import urllib3.response
from harness import request
from harness.authority import over_tls
from harness.chromium import Chromium
from harness.requirements import require_program

TEXT = "".join(f"<li>item {number} of the list — ✓</li>\n" for number in range(300))
CODINGS = ["gzip", "br", "zstd"]
# As many that lengths of every remainder by three come up.
TIMES = 12


@pytest.fixture(scope="module")
def server(shared, authority, certificate):
    server = shared("compressing:app", "--compress", "--threads", "4", *certificate)
    headers = [("Content-Type", "text/plain; charset=utf-8")]
    halves = [TEXT[:5000].encode(), TEXT[5000:].encode()]
    for way in ["whole", "stream"]:
        pieces = [b64encode(piece).decode() for piece in halves]
        plan = json.dumps({"headers": headers, "pieces": pieces, "way": way}).encode()
        data = request("POST", f"/{way}", "Connection: close", body=plan)
        assert over_tls(server, authority.client(), data).status == 200
    server.base = f"https://localhost:{server.port}"
    server.authority = str(authority.certfile)
    return server


def by_requests(server, coding, target):
    headers = {"Accept-Encoding": coding, "Cookie": "session=1"}
    url, trust = server.base + target, server.authority
    return requests.get(url, headers=headers, verify=trust, timeout=20).text


def by_httpx(server, coding, target):
    headers = {"Accept-Encoding": coding, "Cookie": "session=1"}
    with httpx.Client(http2=True, verify=server.context, headers=headers) as client:
        response = client.get(server.base + target)
        assert response.http_version == "HTTP/2"
        return response.text


def by_curl(server, coding, target):
    program = require_program("curl", package="curl")
    headers = ["-H", f"Accept-Encoding: {coding}", "-b", "session=1"]
    trust = ["--cacert", server.authority]
    command = [program, "-sS", "--compressed", *headers, *trust, server.base + target]
    return subprocess.run(command, capture_output=True, check=True, timeout=20).stdout.decode()


def by_node(server, coding, target):
    program = require_program("node", package="nodejs")
    script = """
      fetch(process.argv[1], {headers: {"Accept-Encoding": process.argv[2], Cookie: "session=1"}})
        .then(response => response.text()).then(text => process.stdout.write(text))
    """
    command = [program, "-e", script, server.base + target, coding]
    environment = {"NODE_EXTRA_CA_CERTS": server.authority}
    done = subprocess.run(
        command, capture_output=True, check=True, timeout=20, env=environment, cwd="/"
    )
    return done.stdout.decode()


@pytest.mark.parametrize("target", ["/whole", "/stream"])
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("client", [by_requests, by_httpx, by_curl, by_node])
def test_a_client_decodes(server, authority, client, coding, target):
    server.context = authority.client()
    if coding == "zstd" and client is by_node:
        pytest.skip("Node.js decodes zstd from version 22.15 on")
    if coding == "zstd" and client is by_requests and not urllib3.response.HAS_ZSTD:
        pytest.skip("urllib3 decodes zstd with Python 3.14 or backports.zstd")
    for _ in range(TIMES if client is not by_node else 3):
        assert client(server, coding, target) == TEXT


@pytest.mark.parametrize("coding", CODINGS)
def test_chromium_decodes(server, coding, tmp_path):
    page = Chromium(tmp_path, f"{server.base}/whole")
    try:
        page.accept_encodings(coding)
        page.evaluate("document.cookie = 'session=1'")
        for target in ["/whole", "/stream"]:
            found = page.evaluate(
                f"""(async () => {{
                    const found = [];
                    for (let number = 0; number < {TIMES}; number++) {{
                        const url = "{target}?" + number;
                        const response = await fetch(url, {{cache: "no-store"}});
                        const name = response.headers.get("Content-Encoding");
                        found.push([name, await response.text()]);
                    }}
                    return found;
                }})()"""
            )
            assert found == [[coding, TEXT]] * TIMES
    finally:
        page.end()


@pytest.mark.parametrize(
    ("coding", "program"), [("gzip", "gzip"), ("br", "brotli"), ("zstd", "zstd")]
)
def test_reference_tools_decode(server, authority, coding, program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    for target in ["/whole", "/stream"] * TIMES:
        fields = [f"Accept-Encoding: {coding}", "Cookie: session=1", "Connection: close"]
        response = over_tls(server, authority.client(), request("GET", target, *fields))
        assert response.header("Content-Encoding") == coding
        done = subprocess.run([program, "-dc"], input=response.body, capture_output=True)
        assert (done.returncode, done.stdout.decode()) == (0, TEXT), done.stderr
