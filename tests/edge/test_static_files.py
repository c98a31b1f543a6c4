"""Static files from outside: paths, heads, sidecars, ranges, TLS and HTTP/2, files that change."""

import gzip
import hashlib
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from harness import Wire, eventually, request
from harness.requirements import require_program

LARGE = bytes(number % 251 for number in range(3_000_000))
CSS = b"body { margin: 0 }\n" * 40

SETTINGS = """
static_valid = "100ms"
static = [
    {{ path = "/static", dirs = ["{root}/override", "{root}/site"], immutable = "*.????????.*", max_age = "60s" }},
    {{ path = "/only", dir = "{root}/site", fallthrough = false, index = "" }},
    {{ path = "/private", dir = "{root}/private", internal = true }},
]
"""  # noqa: E501

APP = """
import os

def app(environ, start_response):
    query, headers = environ["QUERY_STRING"], [("Content-Type", "text/x-own")]
    if query.startswith("accel="):
        headers += [("X-Accel-Redirect", query[6:]), ("Content-Disposition", "attachment")]
        start_response("200 OK", headers)
        return [b"not sent"]
    if query.startswith("sendfile="):
        start_response("200 OK", [*headers, ("X-Sendfile", query[9:])])
        return [b"not sent"]
    if query.startswith("wrapped="):
        name = query[8:]
        headers += [("Content-Length", str(os.path.getsize(name))), ("ETag", '"own"')]
        start_response("200 OK", headers)
        return environ["wsgi.file_wrapper"](open(name, "rb"))
    start_response("200 OK", headers)
    return [b"application " + environ["PATH_INFO"].encode("latin-1")]
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("static")
    for name, content in {
        "site/a.css": CSS,
        "site/app.1a2b3c4d.js": b"app()",
        "site/large.bin": LARGE,
        "site/sub/index.html": b"<p>index",
        "site/.env": b"secret",
        "site/coded.js": CSS,
        "site/coded.js.gz": gzip.compress(CSS, 9),
        "override/a.txt": b"override",
        "site/a.txt": b"site",
        "private/p.pdf": LARGE,
        "secret": b"secret",
        "wsgi_site.py": APP.encode(),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "site/out").symlink_to(root / "secret")
    (root / "site/up").symlink_to("..")
    (root / "site/inner").symlink_to("a.css")
    os.mkfifo(root / "site/fifo")
    (root / "lockgate.toml").write_text(SETTINGS.format(root=root))
    return root


@pytest.fixture(scope="module")
def server(shared, root, certificate):
    return shared("wsgi_site:app", "--threads", "2", chdir=root)


@pytest.fixture(scope="module")
def secure(shared, root, certificate):
    return shared("wsgi_site:app", "--threads", "2", *certificate, chdir=root)


def test_files_are_served_with_their_heads(server):
    for _ in range(2):
        response = server.get("/static/a.css")
        assert (response.status, response.body) == (200, CSS)
        assert response.header("Content-Type") == "text/css; charset=utf-8"
        assert response.header("Cache-Control") == "max-age=60"
        assert response.header("Accept-Ranges") == "bytes"
        assert response.header("ETag") == f'"{hashlib.sha256(CSS).hexdigest()[:24]}"'
        assert response.header("Last-Modified")
        hashed = server.get("/static/app.1a2b3c4d.js").header("Cache-Control")
        assert hashed == "max-age=31536000, immutable"
        assert server.get("/static/a.txt").body == b"override"
        assert server.get("/static/inner").body == CSS
        assert server.get("/static/large.bin").body == LARGE


@pytest.mark.parametrize(
    "path",
    [
        "/static/../secret",
        "/static/%2e%2e/secret",
        "/static/%2e%2e%2fsecret",
        "/static/..%2fsecret",
        "/static/..%5csecret",
        "/static/sub/../../secret",
        "/static/%c0%ae%c0%ae/secret",
        "/static/up/secret",
        "/static/out",
        "/static/fifo",
        "/static/.env",
        "/static/%2eenv",
        "/static//a.css",
        "/static/a.css%00",
        "/static/a.css%00.html",
        "/static/a.css/",
        "/static/a.css/x",
        "/static/absent",
        "/static",
        "//static/a.css",
        "/private/p.pdf",
    ],
)
def test_what_is_not_served_reaches_the_application(server, path):
    response = server.get(path)
    assert response.status == 200
    assert response.body.startswith(b"application ")
    assert response.body != b"secret"


def test_without_fall_through_the_server_answers(server):
    assert server.get("/only/a.css").status == 200
    assert server.get("/only/absent").status == 404
    assert server.get("/only/.env").status == 404
    assert server.get("/only/sub/").status == 404
    refused = server.post("/only/a.css", b"")
    assert (refused.status, refused.header("Allow")) == (405, "GET, HEAD")
    assert server.post("/static/a.css", b"").body == b"application /static/a.css"


def test_a_directory_is_redirected_to_its_slash(server):
    response = server.get("/static/sub?a=b")
    assert (response.status, response.header("Location")) == (308, "/static/sub/?a=b")
    assert server.get("/static/sub/").body == b"<p>index"


def test_a_sidecar_is_sent_to_clients_that_accept_it(server):
    for accept, is_coded in [("gzip", True), ("br, gzip;q=0.1", True), ("gzip;q=0", False)]:
        response = server.get("/static/coded.js", f"Accept-Encoding: {accept}")
        assert (response.header("Content-Encoding") == "gzip") == is_coded
        assert response.header("Vary") == "Accept-Encoding"
        assert response.header("Content-Type") == "text/javascript; charset=utf-8"
        assert (gzip.decompress(response.body) if is_coded else response.body) == CSS
    part = server.get("/static/coded.js", "Accept-Encoding: gzip", "Range: bytes=0-1")
    assert (part.status, part.body) == (206, b"\x1f\x8b")


@pytest.mark.parametrize("target", ["/static/large.bin", "/?accel=/private/p.pdf", "/?wrapped="])
def test_ranges_and_conditions(server, root, target):
    if target.endswith("="):
        target += str(root / "site/large.bin")
    whole = server.get(target)
    assert (whole.status, whole.body) == (200, LARGE)
    # It is weak while the file is new.
    eventually(lambda: server.get(target).header("ETag").startswith('"'), within=5)
    etag = server.get(target).header("ETag")
    size = len(LARGE)
    for field, part in [
        ("0-0", LARGE[:1]),
        ("5-1000", LARGE[5:1001]),
        ("-7", LARGE[-7:]),
        (f"{size - 3}-", LARGE[-3:]),
        ("100000-2500000", LARGE[100_000:2_500_001]),
    ]:
        response = server.get(target, f"Range: bytes={field}")
        assert (response.status, response.body) == (206, part), field
    several = server.get(target, "Range: bytes=0-9,2000000-2000009")
    assert several.status == 206
    assert several.header("Content-Type").startswith("multipart/byteranges; boundary=")
    assert LARGE[2_000_000:2_000_010] in several.body
    refused = server.get(target, f"Range: bytes={size}-")
    assert (refused.status, refused.header("Content-Range")) == (416, f"bytes */{size}")
    flood = "Range: bytes=" + ",".join("0-" for _ in range(1000))
    assert server.get(target, flood).status == 200
    assert server.get(target, f"If-None-Match: {etag}").status == 304
    assert server.get(target, 'If-Match: "x"').status == 412
    assert server.get(target, "Range: bytes=0-1", 'If-Range: "x"').status == 200
    assert server.get(target, "Range: bytes=0-1", f"If-Range: {etag}").status == 206
    head = server.get(target, method="HEAD")
    assert (head.header("Content-Length"), head.body) == (str(size), b"")


def test_the_application_names_a_file(server, root):
    for _ in range(2):
        response = server.get("/?accel=/private/p.pdf")
        assert response.body == LARGE
        assert response.header("Content-Type") == "text/x-own"
        assert response.header("Content-Disposition") == "attachment"
        assert response.header("X-Accel-Redirect") is None
        response = server.get(f"/?sendfile={root}/private/p.pdf")
        assert (response.body, response.header("X-Sendfile")) == (LARGE, None)
        for target in [
            "accel=/private/absent",
            "accel=/private/../secret",
            "accel=/elsewhere/x",
            f"sendfile={root}/secret",
            f"sendfile={root}/private/../secret",
            "sendfile=/etc/passwd",
        ]:
            assert server.get(f"/?{target}").status == 404, target


def test_a_changed_file_is_served_within_its_time(server, root):
    path = root / "site/changing.txt"
    path.write_bytes(b"one")
    first = server.get("/static/changing.txt")
    path.write_bytes(b"two")
    eventually(lambda: server.get("/static/changing.txt").body == b"two", within=3)
    assert server.get("/static/changing.txt").header("ETag") != first.header("ETag")
    path.unlink()
    eventually(lambda: server.get("/static/changing.txt").body.startswith(b"app"), within=3)


def test_a_file_that_shrinks_while_it_is_sent_ends_the_connection(start, root):
    server = start("wsgi_site:app", chdir=root)
    path = root / "site/shrinking.bin"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    with Wire(server.address) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wire.send(request("GET", "/static/shrinking.bin"))
        response = wire.head()
        assert response.header("Content-Length") == "200000000"
        os.truncate(path, 1000)
        assert len(wire.rest()) < 200_000_000
    server.wait_for_log("became shorter while it was being sent")
    assert server.get("/static/a.css").status == 200


def evict(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_files_over_tls_from_memory_and_from_the_disk(secure, authority, root, version):
    curl = require_program("curl", package="curl")
    command = [curl, "-sS", "--cacert", str(authority.certfile), version]
    for target, flags, expected in [
        ("/static/large.bin", [], LARGE),
        ("/static/large.bin", ["-r", "100-2000099"], LARGE[100:2_000_100]),
        ("/static/a.css", [], CSS),
    ]:
        for _ in range(2):
            evict(root / "site/large.bin")
            url = f"https://localhost:{secure.port}{target}"
            body = subprocess.run([*command, *flags, url], capture_output=True, check=True).stdout
            assert body == expected, target


def test_a_slow_disk_delays_no_other_client(server, root):
    # Cold reads of a large file, with small answers between them.
    path = root / "site/cold.bin"
    path.write_bytes(os.urandom(1 << 20) * 32)
    slowest = 0.0
    for _ in range(5):
        evict(path)
        with Wire(server.address) as wire:
            wire.send(request("GET", "/static/cold.bin"))
            begin = time.monotonic()
            assert server.get("/static/a.css").status == 200
            slowest = max(slowest, time.monotonic() - begin)
            assert hashlib.sha256(wire.response().body).digest()
    assert slowest < 5
