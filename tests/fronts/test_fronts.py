"""nginx, HAProxy, Apache and Caddy in front of a server, with the configurations of contrib/."""

import hashlib
import json
import os
import signal
import threading
import time
from collections import Counter

import pytest
from harness import Truncated, Wire, chunked, eventually, request
from harness.fronts import start_front
from harness.load import Load
from harness.other_user import open_to_others

HTTP = ["nginx/http.conf", "haproxy/http.cfg", "apache/http.conf", "caddy/Caddyfile"]
UWSGI = ["nginx/uwsgi.conf", "apache/uwsgi.conf"]
ALL = [*HTTP, "haproxy/proxy-protocol.cfg", *UWSGI]
#: The clients of these tests are on this machine, which is trusted by default.
NO_TRUST = ("--forwarded-allow-ips", "192.0.2.1")
#: What makes each of them close idle connections to the server, and the same with one second.
IDLE = {
    "nginx/http.conf": ("keepalive_timeout 60s", "keepalive_timeout 1s"),
    "haproxy/http.cfg": ("pool-purge-delay 5s", "pool-purge-delay 1s"),
    "apache/http.conf": ("ttl=60", "ttl=1"),
    "caddy/Caddyfile": ("keepalive 60s", "keepalive 1s"),
}
BODY = bytes(range(256)) * 4096  # 1 MiB


class Site:
    """A server and the proxy before it."""

    def __init__(self, server, front):
        self.server, self.front = server, front

    def ask(self, data, method="GET"):
        with Wire(self.front.address, 30) as wire:
            wire.send_while_open(data)
            return wire.response(method)

    def seen(self, data):
        response = self.ask(data)
        assert response.status == 200, response
        return json.loads(response.body)


@pytest.fixture
def behind(start, tmp_path):
    """Starts a server behind the proxy of a configuration: behind("nginx/http.conf", "--flag")."""
    fronts = []

    def build(configuration, *flags, changes=None, workers=1):
        scheme = "uwsgi://" if "uwsgi" in configuration else ""
        if configuration == "haproxy/proxy-protocol.cfg":
            flags = (*flags, "--proxy-protocol", "v2")
            server = start("fronted", *NO_TRUST, *flags, workers=workers)
            at = f"127.0.0.1:{server.port}"
        else:
            at = str(tmp_path / "lockgate.sock")
            # The user of the proxy may connect.
            flags = (*NO_TRUST, *flags, "--umask", "0")
            server = start("fronted", *flags, bind=[f"{scheme}unix:{at}"], workers=workers)
            if os.geteuid() == 0:
                open_to_others(tmp_path)
        front = start_front(tmp_path / f"front{len(fronts)}", configuration, at, changes=changes)
        fronts.append(front)
        return Site(server, front)

    yield build
    for front in fronts:
        front.end()


@pytest.mark.parametrize("configuration", ALL)
def test_an_application_sees_the_client_and_not_the_proxy(behind, configuration):
    site = behind(configuration)
    forged = [
        "Host: shop.example:8080",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "Forwarded: for=6.6.6.6;proto=https;host=evil.example",
        "X_Secret: forged",
        "Connection: close",
    ]
    # Apache passes on no encoded slash by the uwsgi protocol.
    slash = "/" if configuration == "apache/uwsgi.conf" else "%2F"
    seen = site.seen(request("GET", f"/seen/a%20b{slash}c?q=1&r=%2F", *forged, host=None))
    assert seen["REMOTE_ADDR"] == "127.0.0.1"
    assert seen["wsgi.url_scheme"] == "http"
    # Debian's uwsgi_params has the host without the port before nginx 1.30.
    ports = ["", ":8080"] if configuration == "nginx/uwsgi.conf" else [":8080"]
    assert seen["HTTP_HOST"] in [f"shop.example{port}" for port in ports]
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("", "/seen/a b/c")
    assert seen["QUERY_STRING"] == "q=1&r=%2F"
    assert seen["HTTP_X_SECRET"] is None


@pytest.mark.parametrize("configuration", ALL)
@pytest.mark.parametrize("form", ["length", "chunked"])
def test_uploads_arrive_whole(behind, configuration, form):
    site = behind(configuration)
    if (configuration, form) == ("apache/uwsgi.conf", "chunked"):
        data = request("POST", "/seen", "Connection: close", "Transfer-Encoding: chunked")
        assert site.ask(data + chunked([b"x"])).status == 411  # Apache's answer
        return
    body = BODY * 5
    if form == "length":
        data = request("POST", "/seen", "Connection: close", body=body)
    else:
        head = request("POST", "/seen", "Connection: close", "Transfer-Encoding: chunked")
        data = head + chunked([body[at : at + 60_000] for at in range(0, len(body), 60_000)])
    seen = site.seen(data)
    assert seen["size"] == len(body)
    assert seen["body"] == hashlib.sha256(body).hexdigest()
    assert seen["CONTENT_LENGTH"] == str(len(body))


RESPONSES = [
    ("/large?megabytes=8", "GET", 200, 8 << 20),
    ("/large-stream?megabytes=8", "GET", 200, 8 << 20),
    ("/file?size=300000", "GET", 200, 300_000),
    ("/stream?pieces=5", "GET", 200, 40),
    ("/large?megabytes=1", "HEAD", 200, 0),
    ("/status?code=204", "GET", 204, 0),
    ("/status?code=304", "GET", 304, 0),
    ("/status?code=404&body=nothing", "GET", 404, 7),
]


@pytest.mark.parametrize("configuration", ALL)
def test_responses_arrive_as_they_were_sent(behind, configuration):
    site = behind(configuration)
    for target, method, status, size in RESPONSES:
        response = site.ask(request(method, target, "Connection: close"), method)
        assert (response.status, len(response.body)) == (status, size), target


# Caddy 2.6 logs "aborting with incomplete response" and ends the response as if it were whole.
# Apache 2.4.71 misses about every third reset of a server of the uwsgi protocol, and logs nothing.
@pytest.mark.parametrize(
    "configuration", [name for name in ALL if name not in ("caddy/Caddyfile", "apache/uwsgi.conf")]
)
def test_a_response_that_fails_midway_does_not_look_complete(behind, configuration):
    site = behind(configuration)
    with Wire(site.front.address, 30) as wire:
        wire.send(request("GET", "/fails-midway"))
        assert wire.head().status == 200
        with pytest.raises((Truncated, ConnectionResetError)):
            while wire.chunk():
                pass
    site.server.wait_for_log("RuntimeError: midway")


@pytest.mark.parametrize("configuration", ALL)
def test_the_proxy_passes_on_that_a_client_has_gone(behind, configuration):
    site = behind(configuration, "--access-logfile", "-")
    with Wire(site.front.address, 30) as wire:
        wire.send(request("GET", "/large-stream?megabytes=2000"))
        wire.head()
        wire.part(100_000)
    # An endless download ends soon after its client.
    eventually(lambda: "large-stream" in site.server.output, within=30, what="the request ends")
    assert site.ask(request("GET", "/seen", "Connection: close")).status == 200


@pytest.mark.parametrize("configuration", ALL)
def test_no_request_is_lost_at_a_reload(behind, configuration):
    site = behind(configuration, workers=2)
    with Load(site.front.address, clients=6, path="/status?code=200&body=x") as load:
        for number in range(2):
            eventually(lambda n=number: load.ok > (n + 1) * 50, within=30, what="requests")
            seen = len(site.server.errors)
            site.server.signal(signal.SIGHUP)
            site.server.wait_for_log("reload: done", 30, seen)
        done = load.ok
        eventually(lambda: load.ok > done + 50, within=30, what="requests after the reloads")
    assert load.failures == []


@pytest.mark.parametrize("configuration", list(IDLE))
def test_a_post_never_meets_a_connection_that_the_server_has_just_closed(behind, configuration):
    # As in production (60 s before 75 s), with one second before two and a half.
    site = behind(configuration, "--keep-alive", "2.5", changes=dict([IDLE[configuration]]))
    statuses: Counter[int] = Counter()
    lock = threading.Lock()

    def client(pause):
        for _ in range(4):
            response = site.ask(request("POST", "/seen", "Connection: close", body=b"x" * 100))
            with lock:
                statuses[response.status] += 1
            time.sleep(pause)  # the time under test: around the limits of both sides

    pauses = [0.9, 0.95, 1.0, 1.05, 1.1, 2.4, 2.45, 2.5, 2.55, 2.6]
    threads = [threading.Thread(target=client, args=(pause,)) for pause in pauses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == {200: 4 * len(pauses)}


@pytest.mark.parametrize(
    "target, name, path",
    [("/shop/seen", "/shop", "/seen"), ("/shop/seen/a%20b", "/shop", "/seen/a b")],
)
def test_nginx_serves_an_application_below_a_prefix(behind, target, name, path):
    site = behind("nginx/prefix.conf", "--forwarded-prefix")
    seen = site.seen(request("GET", target, "X-Forwarded-Prefix: /evil", "Connection: close"))
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == (name, path)
    moved = site.ask(request("GET", "/shop", "Connection: close"))
    port = site.front.address[1]
    assert (moved.status, moved.header("Location")) == (308, f"http://lockgate.test:{port}/shop/")


@pytest.mark.parametrize(
    "flag, version", [("send-proxy", "v1"), ("send-proxy-v2", "v2"), ("send-proxy", "auto")]
)
def test_haproxy_names_the_client_by_a_proxy_header(start, tmp_path, flag, version):
    server = start("fronted", *NO_TRUST, "--proxy-protocol", version)
    front = start_front(
        tmp_path / "front",
        "haproxy/proxy-protocol.cfg",
        f"127.0.0.1:{server.port}",
        changes={"send-proxy-v2    #": f"{flag}    #"},
    )
    try:
        with Wire(front.address) as wire:
            for _ in range(3):
                wire.send(request("GET", "/seen", "X-Forwarded-For: 6.6.6.6"))
                seen = json.loads(wire.response().body)
                assert seen["REMOTE_ADDR"] == "127.0.0.1"
                assert seen["HTTP_X_FORWARDED_FOR"] is None
    finally:
        front.end()


@pytest.mark.parametrize("configuration", ALL)
def test_a_proxy_answers_while_the_server_is_away_and_serves_when_it_is_back(
    behind, start, configuration
):
    site = behind(configuration)
    assert site.ask(request("GET", "/seen", "Connection: close")).status == 200
    assert site.server.stop() == 0
    try:
        response = site.ask(request("GET", "/seen", "Connection: close"))
        assert response.status in (502, 503), response
    except (Truncated, ConnectionError):
        # A proxy of connections can only close.
        assert configuration == "haproxy/proxy-protocol.cfg"
