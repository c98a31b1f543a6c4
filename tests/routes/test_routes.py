"""Routes: redirects, rewrites, edits of fields, error pages, addresses and maintenance."""

import base64
import json
import shutil
import subprocess
import sys

import httpx
import pytest
from harness import APPS, free_port, request
from harness.admin import Admin

PAGE = b"<!doctype html><title>Closed</title><p>Back at noon."

SETTINGS = """
forwarded_allow_ips = ["127.0.0.1"]
response_headers = {{ "X-Frame-Options" = "DENY" }}
error_pages = {{ 403 = "{pages}/403.html", 413 = "{pages}/403.html", 503 = "{pages}/403.html" }}
maintenance = {{ on = false, allow = ["192.0.2.7"], paths = ["/health"], retry_after = "2m" }}

[[route]]
path = "/inner"
allow = ["10.0.0.0/8"]
deny = ["10.9.0.0/16"]

[[route]]
path = "/inner/open"
allow = ["*"]

[[route]]
path = "/edited"
request_headers = {{ "X-Env" = "prod", "X-Debug" = false }}
response_headers = {{ "X-Part" = "edited", "X-Frame-Options" = false }}

[[redirect]]
from = "www.shop.example"
to = "https://shop.example"

[[redirect]]
from = "/old/*"
to = "/new/*"
status = 301

[[rewrite]]
from = "/item/*"
to = "/items?id=*"
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    directory = tmp_path_factory.mktemp("routes")
    (directory / "403.html").write_bytes(PAGE)
    path = directory / "lockgate.toml"
    path.write_text(SETTINGS.format(pages=directory))
    return str(path)


@pytest.fixture(scope="module")
def server(shared, settings):
    return shared("environment:app", "-c", settings)


def environ_of(response):
    assert response.status == 200, response
    return json.loads(response.body)


@pytest.mark.parametrize(
    ("host", "target", "status", "location"),
    [
        ("www.shop.example", "/a%20b?c=d", 308, "https://shop.example/a%20b?c=d"),
        ("WWW.Shop.Example:80", "/", 308, "https://shop.example/"),
        ("www.shop.example.", "//evil.example/x", 308, "https://shop.example/evil.example/x"),
        ("h", "/old/x?q", 301, "/new/x?q"),
        ("h", "/old//evil.example", 301, "/new/evil.example"),
        ("h", "/old/%0d%0aSet-Cookie:%20a=b", 301, "/new/%0D%0ASet-Cookie:%20a=b"),
        ("h", "/old/../old/x", 301, "/new/x"),
    ],
)
def test_a_redirect_leads_where_the_settings_say(server, host, target, status, location):
    # A second Host would be refused, so the request is written by hand.
    data = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    response = server.exchange(data)
    assert (response.status, response.header("Location")) == (status, location)
    assert response.header("X-Frame-Options") == "DENY"


def test_a_rewritten_request_keeps_the_target_of_its_client(server):
    environ = environ_of(server.get("/item/a%26b?v=1"))
    assert environ["PATH_INFO"] == "/items"
    assert environ["QUERY_STRING"] == "id=a%26b&v=1"
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == "/item/a%26b?v=1"


def test_fields_are_edited(server):
    response = server.get("/edited", "X-Env: forged", "x-env: again", "X-Debug: 1")
    environ = environ_of(response)
    assert environ["HTTP_X_ENV"] == "prod"
    assert "HTTP_X_DEBUG" not in environ
    assert response.header("X-Part") == "edited"
    assert response.header("X-Frame-Options") is None
    other = server.get("/", "X-Debug: 1")
    assert environ_of(other)["HTTP_X_DEBUG"] == "1"
    assert other.header("X-Frame-Options") == "DENY"


@pytest.mark.parametrize(
    ("client", "target", "status"),
    [
        ("10.0.0.1", "/inner", 200),
        ("10.9.0.1", "/inner", 403),
        ("192.0.2.1", "/inner", 403),
        ("192.0.2.1", "/INNER", 403),
        ("192.0.2.1", "/inner/", 403),
        ("192.0.2.1", "//inner", 403),
        ("192.0.2.1", "/%69nner/x", 403),
        ("192.0.2.1", "/./inner", 403),
        ("192.0.2.1", "/x/../inner", 403),
        ("192.0.2.1", "/inner/..", 403),
        ("192.0.2.1", "/inner/../x", 403),
        ("192.0.2.1", "/inner/x/..%2f..%2fy", 403),
        # Two routes let different clients in, depending on how the path is read.
        ("192.0.2.1", "/inner/open/../x", 400),
        ("192.0.2.1", "/inner/x/../open", 400),
        ("192.0.2.1", "/inner/OPEN", 400),
        ("192.0.2.1", "/x%2f..%2finner", 403),
        ("192.0.2.1", "/inner/open", 200),
        ("192.0.2.1", "/inner/open/x", 200),
        ("192.0.2.1", "/inner2", 200),
        ("192.0.2.1", "/", 200),
    ],
)
def test_addresses_hold_however_a_path_is_written(server, client, target, status):
    response = server.get(target, f"X-Forwarded-For: {client}")
    assert response.status == status
    if status == 403:
        assert response.body == PAGE
        assert response.header("Content-Type") == "text/html; charset=utf-8"


def test_a_refused_body_is_not_received(server):
    """The client waits for 100 Continue, and gets the refusal in its place."""
    head = request(
        "POST",
        "/inner",
        "X-Forwarded-For: 192.0.2.1",
        "Content-Length: 1000000",
        "Expect: 100-continue",
    )
    with server.connect() as wire:
        wire.send(head)
        response = wire.response("POST")
        assert (response.status, response.body) == (403, PAGE)
        assert response.header("X-Frame-Options") == "DENY"
        wire.expect_close()


def test_a_refused_connection_stays_open_without_a_body(server):
    with server.connect() as wire:
        for status, client in [(403, "192.0.2.1"), (200, "10.0.0.1"), (403, "192.0.2.1")]:
            wire.send(request("GET", "/inner", f"X-Forwarded-For: {client}"))
            assert wire.response().status == status


def test_http2_has_the_same_rules(shared, settings, certificate):
    server = shared("environment:app", "-c", settings, *certificate)
    url = f"https://127.0.0.1:{server.port}"
    client = httpx.Client(http2=True, verify=False, headers={"X-Forwarded-For": "192.0.2.1"})
    with client:
        for method, target, body, status in [
            ("GET", "/inner", None, 403),
            ("POST", "/inner", b"x" * 1000, 403),
            ("GET", "/edited", None, 200),
            ("GET", "/old/x", None, 301),
            ("POST", "/edited", b"x" * 1000, 200),
        ]:
            response = client.request(method, url + target, content=body)
            assert (response.http_version, response.status_code) == ("HTTP/2", status), target
            frame = response.headers.get("x-frame-options")
            assert frame == (None if target == "/edited" else "DENY"), target
            if status == 403:
                assert response.content == PAGE


def test_maintenance_is_switched_for_all_workers(start, tmp_path, settings):
    admin = Admin(start, tmp_path, "environment:app", "-c", settings, workers=2)
    server = admin.server

    def statuses(target="/", *headers):
        return {server.get(target, *headers).status for _ in range(6)}

    assert statuses() == {200}
    assert admin.ctl("maintenance", "on").returncode == 0
    assert admin.status()["maintenance"] == "on"
    assert statuses() == {503}
    response = server.get("/")
    assert (response.header("Retry-After"), response.body) == ("120", PAGE)
    assert statuses("/health/db") == {200}
    assert statuses("/", "X-Forwarded-For: 192.0.2.7") == {200}
    # It outlives the workers.
    assert admin.ctl("reload", "--wait").returncode == 0
    assert statuses() == {503}
    assert admin.ctl("maintenance", "auto").returncode == 0
    assert statuses() == {200}


def test_a_page_that_is_missing_stops_the_start(start, tmp_path):
    path = tmp_path / "lockgate.toml"
    path.write_text('error_pages = { 503 = "absent.html" }\n')
    server = start("environment:app", "-c", str(path), wait=False)
    assert server.wait() != 0
    assert "error_pages: the page of 503" in server.errors


def test_a_head_without_a_route_has_the_rules_of_the_server(server):
    for before in ((), ("/edited",)):
        with server.connect() as wire:
            for target in before:
                wire.send(request("GET", target))
                assert wire.response().header("X-Part") == "edited"
            wire.send(b"GET /x BAD\r\n\r\n")
            response = wire.response()
            assert response.status == 400
            assert response.header("X-Frame-Options") == "DENY"
            assert response.header("X-Part") is None
    large = request("POST", "/", "Content-Length: 99999999999999")
    response = server.exchange(large, "POST")
    assert (response.status, response.body) == (413, PAGE)


def test_an_edit_may_remove_what_was_checked(start, tmp_path):
    """The application does not see the password that the server has verified."""
    command = [sys.executable, "-m", "lockgate", "hash-password", "--user", "ann"]
    line = subprocess.run(command, input="secret", text=True, check=True, capture_output=True)
    (tmp_path / "users").write_text(line.stdout)
    (tmp_path / "lockgate.toml").write_text(
        'basic_auth = "users"\nrequest_headers = { "Authorization" = false }\n'
    )
    shutil.copy(APPS / "environment.py", tmp_path)
    shutil.copy(APPS / "protocol.py", tmp_path)
    server = start("environment:app", chdir=tmp_path)
    credentials = base64.b64encode(b"ann:secret").decode()
    environ = environ_of(server.get("/", f"Authorization: Basic {credentials}"))
    assert environ["REMOTE_USER"] == "ann"
    assert "HTTP_AUTHORIZATION" not in environ
    assert server.get("/").status == 401


def test_a_redirect_to_https_is_for_the_path_of_the_client(start, tmp_path, certificate):
    path = tmp_path / "lockgate.toml"
    path.write_text('[[rewrite]]\nfrom = "/v1/*"\nto = "/api/*?version=1"\n')
    secure, plain = free_port(), free_port()
    server = start(
        "environment:app",
        *("-c", str(path), "--https-redirect", *certificate),
        bind=[f"https://127.0.0.1:{secure}", f"http://127.0.0.1:{plain}"],
        wait=False,
    )
    server.wait_until_ready()
    response = httpx.get(f"http://127.0.0.1:{plain}/v1/x?q=1")
    assert response.status_code == 308
    assert response.headers["Location"] == f"https://127.0.0.1:{secure}/v1/x?q=1"
    environ = httpx.get(response.headers["Location"], verify=False).json()
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/api/x", "version=1&q=1")


def test_a_refusal_over_http2_is_logged_with_its_client(start, tmp_path, settings, certificate):
    log = tmp_path / "access.log"
    flags = ["--access-logfile", str(log), "--access-logformat", "%(h)s %(r)s %(s)s"]
    server = start("environment:app", "-c", settings, *flags, *certificate)
    client = httpx.Client(http2=True, verify=False, headers={"X-Forwarded-For": "192.0.2.1"})
    with client:
        response = client.post(f"https://127.0.0.1:{server.port}/inner", content=b"x" * 1000)
        assert (response.http_version, response.status_code) == ("HTTP/2", 403)
    assert server.stop() == 0
    assert log.read_text() == "192.0.2.1 POST /inner HTTP/2.0 403\n"


def test_a_redirect_is_a_response_like_any_other(start, tmp_path, settings):
    """With a body its connection ends, and it is no refusal all the same."""
    log = tmp_path / "access.log"
    flags = ["--access-logfile", str(log), "--access-logformat", "json", "--log-style", "gunicorn"]
    server = start("environment:app", "-c", settings, *flags)
    assert server.post("/old/x", b"x" * 100).status == 301
    assert server.get("/old/x").status == 301
    assert server.stop() == 0
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["outcome"] for entry in entries] == ["complete", "complete"]
    assert "Invalid request" not in server.errors


def test_the_access_log_has_the_reason(start, tmp_path, settings):
    log = tmp_path / "access.log"
    flags = ["--access-logfile", str(log), "--access-logformat", "json"]
    server = start("environment:app", "-c", settings, *flags)
    server.get("/inner", "X-Forwarded-For: 192.0.2.1")
    server.post("/inner", b"x" * 100, "X-Forwarded-For: 192.0.2.1")
    assert server.stop() == 0
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    found = [(entry["status"], entry["outcome"], entry["reason"]) for entry in entries]
    assert found == [(403, "refused", "address_denied")] * 2
