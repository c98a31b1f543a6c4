"""Rate limits over two workers: counts, answers, logs, metrics; deaths, reloads and upgrades."""

import json
import os
import select
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import Wire, eventually, request
from harness.admin import Admin
from harness.http2 import Http2

#: Slow enough that no request is paid off during a test.
SLOW = "5/d"


@pytest.fixture
def launch(start, tmp_path):
    """Starts a server of two workers with these limits, and further settings."""

    def launch(limits, *arguments, app="gates:app", workers=2, settings=""):
        file = tmp_path / "lockgate.toml"
        file.write_text(f"rate_limit = [{', '.join(limits)}]\n{settings}")
        return Admin(start, tmp_path, app, "--config", str(file), *arguments, workers=workers)

    return launch


def limit(**keys):
    """A table of TOML, which has JSON's texts, numbers and lists."""
    keys.setdefault("rate", SLOW)
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in keys.items()) + " }"


def statuses(server, count, target="/", *headers):
    with ThreadPoolExecutor(8) as pool:
        return sorted(pool.map(lambda _: server.get(target, *headers).status, range(count)))


def test_clients_are_counted_over_all_workers(launch):
    server = launch([limit(key="header:X-Client")]).server
    pids = set()

    def ask(number):
        response = server.get("/", f"X-Client: {number % 40}")
        if response.status == 200:
            pids.add(response.body)
        return number % 40, response.status

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(400)))
    for client in range(40):
        found = sorted(status for number, status in answers if number == client)
        assert found == [200] * 5 + [429] * 5, client
    assert len(pids) == 2


def test_a_refused_client_gets_429_and_when_to_come_again(launch, tmp_path):
    log = tmp_path / "access.log"
    arguments = ("--access-logfile", str(log), "--access-logformat", "json")
    server = launch([limit(rate="2/h", path="/login")], *arguments).server
    # One after the other: two workers read their clocks at different microseconds.
    assert [server.get("/login").status for _ in range(2)] == [200, 200]
    response = server.get("/login")
    assert (response.status, response.reason) == (429, "Too Many Requests")
    assert 1790 <= int(response.header("Retry-After")) <= 1800
    assert response.header("Cache-Control") == "no-store"
    assert response.body.startswith(b"429 Too Many Requests: try again in 1")
    head = server.get("/login", method="HEAD")
    assert (head.status, head.body) == (429, b"")
    with server.connect() as wire:
        # Without a body the connection stays; a body that is not wanted is not received.
        wire.send(request("GET", "/login"), request("GET", "/"))
        assert [wire.response().status for _ in range(2)] == [429, 200]
        wire.send(request("POST", "/login", "Content-Length: 1000000"))
        assert wire.response("POST").status == 429
        wire.expect_close()
    with Http2(server.address) as client:
        fields = [
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"localhost"),
            (b":path", b"/login"),
        ]
        stream = client.request(1, fields)
        assert stream.status == 429
        assert 1790 <= int(stream.field("retry-after")) <= 1800

    def refused():
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return [line for line in lines if line["status"] == 429]

    eventually(lambda: len(refused()) == 5, what="the lines of the access log")
    assert {line["reason"] for line in refused()} == {"rate_limited"}


# What is sent, and whether it counts as another request of the same client to /login.
EVASIONS = [
    (b"GET /login HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET /LOGIN HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET /login/ HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET //login HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET /%6Cogin HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET /%6c%6F%67%69%6E HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET /./login HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET /x/../login HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET /x%2F%2e%2e%2Flogin HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET /login/../x HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET /login?again HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET http://a/login HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET /login HTTP/1.1\r\nHost: A.\r\n", True),
    (b"GET /login HTTP/1.1\r\nHost: a:8000\r\n", True),
    (b"GET /login HTTP/1.0\r\nHost: a\r\n", True),
    (b"get /login HTTP/1.1\r\nHost: a\r\n", True),
    (b"HEAD /login HTTP/1.1\r\nHost: a\r\n", True),
    (b"GET /login HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\n", True),
    (b"GET /login HTTP/1.1\r\nHost: a\r\nForwarded: for=1.2.3.4\r\n", True),
    (b"GET /login HTTP/1.1\r\nHost: a\r\nX-Real-IP: 1.2.3.4\r\n", True),
    (b"GET /login HTTP/1.1\r\nHost: a\r\nCookie: a=1; b=2; session=x\r\n", True),
    (b"GET /logins HTTP/1.1\r\nHost: a\r\n", False),
    (b"GET /x/login HTTP/1.1\r\nHost: a\r\n", False),
    (b"GET /login HTTP/1.1\r\nHost: b\r\n", False),
    (b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n", False),
]


def test_no_other_way_to_write_a_request_evades_a_limit(launch):
    table = limit(rate="1/d", path="/login", host="a", methods=["GET"])
    # Loopback is trusted by default: here it is a client.
    server = launch([table], "--forwarded-allow-ips", "").server
    with server.connect() as wire:
        wire.send(b"GET /login HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().status == 200
    for head, is_counted in EVASIONS:
        with server.connect() as wire:
            wire.send(head + b"\r\n")
            status = wire.response(head.split()[0].decode()).status
        assert (status == 429) is is_counted, (head, status)


def test_clients_that_a_trusted_proxy_names_are_counted_apart(launch):
    server = launch([limit(rate="1/d")], "--forwarded-allow-ips", "127.0.0.1").server
    for client, expected in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1:ffff::2", 429),
        ("2001:db8:0:2::1", 200),
        ("::ffff:192.0.2.1", 429),
    ]:
        assert server.get("/", f"X-Forwarded-For: {client}").status == expected, client


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_counts_survive_a_reload_and_an_upgrade(launch, number):
    server = launch([limit()]).server
    assert statuses(server, 7) == [200] * 5 + [429] * 2
    since = len(server.errors)
    server.signal(number)
    server.wait_for_log("reload: done", since=since, within=30)
    assert statuses(server, 4) == [429] * 4


def test_counts_survive_the_death_of_all_workers(launch):
    admin = launch([limit()])
    assert statuses(admin.server, 7) == [200] * 5 + [429] * 2
    before = admin.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    is_replaced = lambda: len(set(admin.workers()) - set(before)) == 2  # noqa: E731
    eventually(is_replaced, within=20, what="other workers")
    assert statuses(admin.server, 4) == [429] * 4


def test_a_limit_that_a_reload_changes_begins_again_and_others_go_on(launch, tmp_path):
    server = launch([limit(path="/a"), limit(path="/b")]).server
    for path in ("/a", "/b"):
        assert statuses(server, 6, path) == [200] * 5 + [429]
    tables = [limit(path="/c"), limit(path="/b"), limit(path="/a", rate="6/d")]
    (tmp_path / "lockgate.toml").write_text(f"rate_limit = [{', '.join(tables)}]\n")
    since = len(server.errors)
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done", since=since, within=30)
    assert statuses(server, 7, "/a") == [200] * 6 + [429]
    assert statuses(server, 2, "/b") == [429] * 2
    assert statuses(server, 6, "/c") == [200] * 5 + [429]


def test_a_reload_can_add_the_first_limit(launch, tmp_path):
    server = launch([]).server
    assert statuses(server, 8) == [200] * 8
    (tmp_path / "lockgate.toml").write_text(f"rate_limit = [{limit()}]\n")
    since = len(server.errors)
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done", since=since, within=30)
    assert statuses(server, 8) == [200] * 5 + [429] * 3


class Held:
    """A request that runs until `release`."""

    def __init__(self, server, gate):
        self.gate = gate
        self.wire = server.connect()
        self.wire.send(request("GET", f"/hold?{gate}"))

    def has_started(self):
        return self.gate.with_name(self.gate.name + ".started").exists()

    def is_answered(self):
        readable, _, _ = select.select([self.wire.socket], [], [], 0)
        return bool(readable)

    def release(self):
        self.gate.touch()
        return self.wire.response().status


def hold(server, directory, count):
    held = [Held(server, directory / f"gate{number}") for number in range(count)]
    for one in held:
        eventually(one.has_started, what="the request")
    return held


def hold_again(server, gate):
    """A place is free a moment after the client has got the last byte."""
    for _ in range(100):
        one = Held(server, gate)
        eventually(lambda one=one: one.has_started() or one.is_answered(), what="an answer")
        if one.has_started():
            return one
        one.wire.close()
    raise AssertionError("no place became free")


def test_requests_at_once_are_counted_over_all_workers_until_they_end(launch, tmp_path):
    table = '{ path = "/hold", concurrency = 3, name = "reports" }'
    admin = launch([table], "--threads", "4")
    server = admin.server
    held = hold(server, tmp_path, 3)
    refused = server.get("/hold?x")
    assert (refused.status, refused.header("Retry-After")) == (429, "1")
    assert server.get("/").status == 200
    assert held[1].release() == 200
    again = hold_again(server, tmp_path / "again")
    assert server.get("/hold?x").status == 429
    for one in (held[0], held[2], again):
        assert one.release() == 200
    found = json.loads(admin.ctl("limits", "--json").stdout)
    [shown] = found["limits"]
    assert (shown["name"], shown["measure"]) == ("reports", "3 at once")
    assert shown["refused"] >= 2


def test_places_of_killed_workers_are_free(launch, tmp_path):
    admin = launch(['{ path = "/hold", concurrency = 3 }'], "--threads", "4")
    hold(admin.server, tmp_path, 3)
    before = admin.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    is_replaced = lambda: len(set(admin.workers()) - set(before)) == 2  # noqa: E731
    eventually(is_replaced, within=20, what="other workers")
    (tmp_path / "next").mkdir()
    held = hold(admin.server, tmp_path / "next", 3)
    assert admin.server.get("/hold?x").status == 429
    assert [one.release() for one in held] == [200] * 3


def test_places_of_clients_that_leave_are_free_when_the_call_has_ended(launch, tmp_path):
    server = launch(['{ path = "/hold", concurrency = 1 }'], "--threads", "4").server
    [held] = hold(server, tmp_path, 1)
    held.wire.close()
    assert server.get("/hold?x").status == 429
    held.gate.touch()
    last = tmp_path / "last"
    last.touch()
    eventually(lambda: server.get(f"/hold?{last}").status == 200, what="a free place")


def test_a_dry_run_serves_logs_and_counts(launch):
    admin = launch([limit(rate="2/d", name="try", dry_run=True)])
    assert statuses(admin.server, 10) == [200] * 10
    admin.server.wait_for_log(
        r"the limit try \(2/d\) would refuse requests of 127\.0\.0\.1 without dry_run"
    )
    name = "lockgate_rate_limited_requests_total"
    samples = admin.samples()
    assert samples[f'{name}{{limit="try",measure="2/d",dry_run="true"}}'] == 8
    assert samples[f'{name}{{limit="try",measure="2/d",dry_run="false"}}'] == 0


def test_operators_see_who_is_refused_and_no_secret_is_shown(launch):
    admin = launch(
        [
            limit(rate="1/d", path="/a", name="by address"),
            limit(rate="1/d", path="/h", key="header:X-Api-Key"),
            limit(rate="1/d", path="/c", key="cookie:session"),
        ]
    )
    for _ in range(4):
        for path in ("/a", "/h", "/c"):
            fields = ("X-Api-Key: open-sesame", "Cookie: session=open-sesame")
            admin.server.get(path, *fields)
    admin.server.wait_for_log(r"the limit by address \(1/d\) refuses requests of 127\.0\.0\.1 ")
    admin.server.wait_for_log(r"the limit /h \(1/d\) refuses requests of the key [0-9a-f]{8} ")
    lines = admin.ctl("limits").stdout.splitlines()
    assert lines[1].split() == ["by", "address", "1/d", "3", "0"]
    assert lines[2].split()[:2] == ["127.0.0.1", "3"]
    assert lines[4].split()[0] == "key" and lines[6].split()[0] == "key"
    shown = admin.server.errors + admin.server.output + "\n".join(lines)
    assert "open-sesame" not in shown
    # At most one line in ten seconds and for each limit and worker.
    assert admin.server.errors.count("refuses requests of") <= 6


def test_a_server_without_limits_says_so(launch):
    admin = launch([])
    assert admin.ctl("limits").stdout == "no rate limit is set\n"
    assert not any("rate_limit" in name for name in admin.samples())


def test_clients_of_unix_sockets_are_one(launch, tmp_path):
    path = tmp_path / "app.sock"
    launch([limit(rate="2/d")], "-b", f"unix:{path}", workers=1)
    found = []
    for _ in range(3):
        with Wire(str(path)) as wire:
            wire.send(request("GET", "/"))
            found.append(wire.response().status)
    assert found == [200, 200, 429]
