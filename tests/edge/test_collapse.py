"""One call for many clients of one key, and what purges, replaced workers and kills leave."""

import json
import os
import re
import select
import signal
import threading
import time
from collections import Counter
from urllib.parse import quote, urlencode

import pytest
from harness import allow_descriptors, eventually, request
from harness.admin import Admin
from harness.http2 import GET, Http2, headers
from harness.wire import Truncated, Wire

WORKERS = 4
CLIENTS = 1000
PUBLIC = quote("public, max-age=3600")
#: The issue's promise for every worker of the host.
PURGE_SECONDS = 0.05


def target(*fields, cc=PUBLIC, path="/answer"):
    return f"{path}?" + "&".join([f"cc={cc}", *fields])


def call_of(response):
    assert response.status == 200, response
    return json.loads(response.body.partition(b"\n")[0])["call"]


class Gate:
    """A call that waits until the test opens it."""

    def __init__(self, directory, name="gate"):
        self.path = directory / name
        self.field = "gate=" + quote(str(self.path))

    def is_reached(self):
        return self.path.with_name(self.path.name + ".started").exists()

    def worker(self):
        eventually(self.is_reached, what="a call waits")
        return int(self.path.with_name(self.path.name + ".started").read_text())

    def open(self):
        self.path.touch()


class Clients:
    """Connections that have sent one request each and wait for its response."""

    def __init__(self, server, path, count, *fields):
        allow_descriptors(count + 200)
        data = request("GET", path, *fields, "Connection: close")
        self.wires = []
        for _ in range(count):
            wire = Wire(server.address, 60)
            self.wires.append(wire)
            wire.send(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for wire in self.wires:
            wire.close()

    def has_no_answer(self):
        ready, _, _ = select.select([wire.socket for wire in self.wires[:500]], [], [], 0)
        return not ready

    def responses(self):
        return [wire.response() for wire in self.wires]


def test_a_thousand_clients_of_a_cold_key_over_four_workers_are_one_call(start, site, tmp_path):
    server = start(
        "edge_site:app", "--cache", "16MiB", workers=WORKERS, environment=site.environment
    )
    gate = Gate(tmp_path)
    with Clients(server, target(gate.field), CLIENTS) as clients:
        gate.worker()
        assert clients.has_no_answer()
        gate.open()
        responses = clients.responses()
    assert site.calls() == 1
    assert {call_of(response) for response in responses} == {1}
    assert len({response.body for response in responses}) == 1
    states = Counter(re.sub(r"ttl=\d+", "", str(r.header("Cache-Status"))) for r in responses)
    assert sum(count for state, count in states.items() if "collapsed" in state) > 0, states
    # Each worker has it now.
    assert {call_of(server.get(target(gate.field))) for _ in range(40)} == {1}


def test_streams_of_http2_are_collapsed_too(start, site, tmp_path):
    server = start(
        "edge_site:app", "--cache", "16MiB", "--http2", workers=2, environment=site.environment
    )
    gate = Gate(tmp_path)
    path = (b":path", target(gate.field).encode())
    fields = [path if name == b":path" else (name, value) for name, value in GET]
    with Http2(server.address) as client:
        for number in range(20):
            client.send(headers(2 * number + 1, fields))
        gate.worker()
        gate.open()
        for number in range(20):
            client.response(2 * number + 1)
    assert site.calls() == 1


def test_clients_that_wait_for_a_private_response_each_get_their_own(start, site, tmp_path):
    """What is not stored is not shared, and they are not asked one after the other."""
    server = start(
        "edge_site:app",
        "--cache",
        "4MiB",
        "--threads",
        "8",
        workers=2,
        environment=site.environment,
    )
    path = target("echo=Cookie", "sleep=0.3", cc="private")
    wires = [Wire(server.address) for _ in range(16)]
    began = time.monotonic()
    for number, wire in enumerate(wires):
        wire.send(request("GET", path, f"Cookie: user={number}"))
    for number, wire in enumerate(wires):
        shown = json.loads(wire.response().body)
        assert shown["echo"] == f"user={number}"
        wire.close()
    took = time.monotonic() - began
    assert site.calls() == 16
    # One call, and then all others at once.
    assert took < 16 * 0.3 / 2, took


def test_a_call_that_is_too_slow_does_not_stop_the_others(start, site, tmp_path):
    server = start(
        "edge_site:app",
        *("--cache", "4MiB", "--cache-lock-timeout", "500ms", "--threads", "4"),
        environment=site.environment,
    )
    gate = Gate(tmp_path)
    path = target(gate.field)
    with Clients(server, path, 2) as clients:
        gate.worker()
        # The second one is passed to the application when its patience ends.
        eventually(lambda: site.calls() == 2, within=10, what="a second call")
        gate.open()
        for response in clients.responses():
            assert response.status == 200


def test_a_failed_call_is_not_the_answer_of_all(start, site, tmp_path):
    """Its own client gets the 500; another one asks again."""
    server = start(
        "edge_site:app",
        *("--cache", "4MiB", "--threads", "8"),
        workers=2,
        environment=site.environment,
    )
    gate = Gate(tmp_path)
    with Clients(server, target(gate.field, "status=500", cc="no-store"), 8) as clients:
        gate.worker()
        gate.open()
        responses = clients.responses()
    assert [response.status for response in responses] == [500] * 8
    assert site.calls() == 8


def test_the_first_client_leaves_and_the_others_get_the_response(start, site, tmp_path):
    server = start("edge_site:app", "--cache", "4MiB", workers=2, environment=site.environment)
    gate = Gate(tmp_path)
    path = target(gate.field)
    first = Wire(server.address)
    first.send(request("GET", path))
    gate.worker()
    with Clients(server, path, 20) as clients:
        first.close()
        gate.open()
        assert {response.status for response in clients.responses()} == {200}
    assert site.calls() <= 2


def test_a_worker_is_killed_while_it_fills_the_cache(start, site, tmp_path):
    """Clients of other workers get the response of a second call, soon."""
    server = start(
        "edge_site:app", "--cache", "4MiB", workers=WORKERS, environment=site.environment
    )
    gate = Gate(tmp_path)
    path = target(gate.field, "size=200000")
    with Clients(server, path, 100) as clients:
        worker = gate.worker()
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: site.calls() >= 2, within=10, what="another worker calls")
        gate.open()
        whole, lost = [], 0
        for wire in clients.wires:
            try:
                whole.append(wire.response())
            except (Truncated, ConnectionError):
                lost += 1
    # Those of the killed worker are lost.
    assert 0 < lost < 100, lost
    bodies = {response.body for response in whole}
    assert len(bodies) == 1 and len(next(iter(bodies))) == 200_000
    assert {response.status for response in whole} == {200}
    assert site.calls() == 2
    assert call_of(server.get(path)) == 2


def purge_by_python(server, admin, **what):
    query = "&".join(f"{name}={quote(str(value))}" for name, value in what.items())
    response = server.get("/purge?" + query)
    assert response.status == 200, response


def purge_by_admin(server, admin, **what):
    with Wire(str(admin.path)) as wire:
        body = urlencode({"all": ""} if "all" in what else what).encode()
        fields = ("Content-Type: application/x-www-form-urlencoded", "Connection: close")
        wire.send(request("POST", "/cache/purge", *fields, body=body, host="localhost"))
        response = wire.response()
    assert response.status == 200, response


def purge_by_ctl(server, admin, **what):
    [(name, value)] = what.items()
    arguments = {"all": ["--all"], "tag": ["--tag", value], "url": [value]}[name]
    done = admin.ctl("purge", *arguments)
    assert done.returncode == 0, done.stderr


def more_than(found, count):
    before = len(found)
    eventually(lambda: len(found) > before + count, within=30, what="responses")


@pytest.mark.parametrize("purge", [purge_by_python, purge_by_admin, purge_by_ctl])
@pytest.mark.parametrize("what", [{"tag": "versions"}, {"url": "/version"}, {"all": True}])
def test_no_old_response_is_given_50_ms_after_a_purge(start, site, tmp_path, purge, what):
    admin = Admin(
        start,
        tmp_path,
        "edge_site:app",
        *("--cache", "16MiB", "--threads", "4"),
        workers=WORKERS,
        environment=site.environment,
    )
    server = admin.server
    if "url" in what:
        what = {"url": f"http://lockgate.test{what['url']}"}
    seen = []
    stopped = threading.Event()

    def client():
        while not stopped.is_set():
            sent = time.monotonic()
            body = server.get("/version").body
            seen.append((sent, body))

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    purged = []
    try:
        for number in range(1, 9):
            more_than(seen, 30)
            # As an application writes to its database: whole or not at all.
            new = site.version_path.with_name("new")
            new.write_text(f"version {number}")
            new.rename(site.version_path)
            purge(server, admin, **what)
            purged.append(time.monotonic())
        more_than(seen, 30)
    finally:
        stopped.set()
        for thread in threads:
            thread.join(30)
    old = []
    for sent, body in seen:
        done = sum(moment + PURGE_SECONDS <= sent for moment in purged)
        if int(body.removeprefix(b"version ")) < done:
            old.append((sent - purged[done - 1], body, done))
    assert old == [], f"{len(old)} of {len(seen)}"
    # It was a cache: few of the responses were calls.
    assert site.calls("version") < len(seen) / 3, (site.calls("version"), len(seen))


def test_a_purge_leaves_other_entries(start, site, tmp_path):
    server = start("edge_site:app", "--cache", "4MiB", environment=site.environment)
    paths = {tag: target(f"tag={tag}") for tag in ("a", "b", "a%2C%20b", "c")}
    before = {tag: call_of(server.get(path)) for tag, path in paths.items()}
    purge_by_python(server, None, tag="a")
    after = {tag: call_of(server.get(path)) for tag, path in paths.items()}
    changed = {tag for tag in paths if before[tag] != after[tag]}
    assert changed == {"a", "a%2C%20b"}


def hup(server, admin):
    seen = len(server.errors)
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done", 30, seen)


def recycle(server, admin):
    before = set(server.workers())
    for _ in range(200):
        server.get("/account")
        if not before & set(server.workers()):
            return
    raise AssertionError("the workers were not replaced")


def usr2(server, admin):
    seen = len(server.errors)
    before = set(server.workers())
    server.signal(signal.SIGUSR2)
    eventually(
        lambda: server.workers() and not before & set(server.workers()),
        within=30,
        what=f"new workers:\n{server.errors[seen:]}",
    )


def kill(server, admin):
    before = server.workers()
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    eventually(
        lambda: len(set(server.workers()) - set(before)) == len(before), within=20, what="workers"
    )


@pytest.mark.parametrize("replace", [hup, recycle, usr2, kill])
def test_entries_outlive_the_workers_that_made_them(start, site, tmp_path, replace):
    recycling = ("--max-requests", "30") if replace is recycle else ()
    server = start(
        "edge_site:app",
        *("--cache", "16MiB", *recycling),
        workers=2,
        environment=site.environment,
    )
    paths = [target(f"n={number}", "size=3000") for number in range(20)]
    before = [server.get(path).body for path in paths]
    replace(server, None)
    eventually(lambda: server.accepts(), what="it accepts")
    assert [server.get(path).body for path in paths] == before
    assert site.calls() == len(paths)


def test_a_stale_response_is_given_while_it_is_made_again_once(start, site, tmp_path):
    server = start(
        "edge_site:app", "--cache", "4MiB", workers=WORKERS, environment=site.environment
    )
    path = target(cc=quote("max-age=1, stale-while-revalidate=60"))
    assert call_of(server.get(path)) == 1
    # The time under test.
    time.sleep(2.1)
    began = time.monotonic()
    calls = [call_of(server.get(path)) for _ in range(20)]
    assert calls[0] == 1
    eventually(lambda: call_of(server.get(path)) > 1, what="the response is new")
    # It is stale again in a second, and then made again.
    assert site.calls() <= 3 + (time.monotonic() - began)


def test_a_stale_response_is_given_when_the_application_fails(start, site, tmp_path):
    server = start("edge_site:app", "--cache", "4MiB", environment=site.environment)
    good = target("of=good", cc=quote("max-age=1, stale-if-error=60"))
    first = server.get(good)
    time.sleep(2.1)
    # The application fails for want of the directory in which it counts its calls.
    moved = site.calls_path.parent.with_name("moved")
    site.calls_path.parent.rename(moved)
    try:
        stale = server.get(good)
    finally:
        moved.rename(site.calls_path.parent)
    assert (stale.status, stale.body) == (200, first.body)


def test_the_first_event_of_a_stream_comes_at_once_with_all_of_it_on(start, site):
    """Neither compression nor the cache holds it back."""
    server = start("edge_site:app", "--cache", "4MiB", "--compress", environment=site.environment)
    for coding in ("identity", "gzip", "br", "zstd"):
        with server.connect() as wire:
            began = time.monotonic()
            wire.send(request("GET", "/events", f"Accept-Encoding: {coding}"))
            head = wire.head()
            assert head.header("Content-Encoding") == (None if coding == "identity" else coding)
            assert wire.chunk()
            took = time.monotonic() - began
        # Its next event comes after 300 ms.
        assert took < 0.25, (coding, took)
