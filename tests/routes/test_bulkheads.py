"""Bulkheads, priorities, timeouts and body limits of routes: what waits, what is taken past it."""

import contextlib
import select

import pytest
from harness import eventually
from harness.http2 import GET, Http2, data, headers, rst_stream
from harness.wire import chunked, request


class Site:
    """A server of tests/apps/parts.py with one worker, and the notes of its application."""

    def __init__(self, start, directory, settings, *arguments):
        self.directory = directory
        file = directory / "lockgate.toml"
        file.write_text(settings)
        environment = {"PARTS_DIRECTORY": str(directory)}
        arguments = ("-c", str(file), *arguments)
        self.server = start("parts:app", *arguments, environment=environment)
        self.wires = contextlib.ExitStack()

    def send(self, target, *fields):
        wire = self.wires.enter_context(self.server.connect())
        wire.send(request("GET", target, *fields))
        return wire

    def open(self, *names):
        for name in names:
            (self.directory / name).touch()

    def notes(self):
        notes = self.directory / "notes"
        return notes.read_text().splitlines() if notes.exists() else []

    def begun(self):
        return [line.split()[1] for line in self.notes() if line.startswith("begin")]

    def has_begun(self, name):
        eventually(lambda: name in self.begun(), what=f"{name} has begun")

    def most_at_once(self, *prefixes):
        """How many requests whose names begin so have run at the same time, at most."""
        running = most = 0
        for what, name in map(str.split, self.notes()):
            if name.startswith(prefixes):
                running += 1 if what == "begin" else -1
                most = max(most, running)
        return most

    def answers_shop(self, times):
        for number in range(times):
            assert self.server.get(f"/shop?{number}").body.startswith(b"%d " % number)


@pytest.fixture
def site(start, tmp_path):
    sites = []

    def started(settings, *arguments):
        sites.append(Site(start, tmp_path, settings, *arguments))
        return sites[-1]

    yield started
    for one in sites:
        one.wires.close()


REPORTS = """
threads = 4
[[route]]
path = "/reports"
threads = 1
"""


def test_slow_reports_leave_room_for_the_shop(site):
    one = site(REPORTS)
    names = [f"hold-{number}" for number in range(6)]
    wires = [one.send(f"/reports/yearly?{name}") for name in names]
    eventually(one.begun, what="a report has begun")
    # More of them than threads wait, and each request to the shop finds one.
    one.answers_shop(20)
    assert len([name for name in one.begun() if name in names]) == 1
    one.open(*names)
    bodies = [wire.response().body.decode() for wire in wires]
    assert bodies == [f"{name} 0" for name in names]
    assert one.most_at_once("hold") == 1


def test_requests_of_one_connection_run_past_each_other(site):
    one = site(REPORTS)
    with Http2(one.server.address) as client:
        client.settled()
        streams = {1: "hold-1", 3: "hold-3", 5: "shop-5", 7: "hold-7", 9: "hold-9", 11: "shop-11"}
        client.send(*(headers(stream, fields_of(name)) for stream, name in streams.items()))
        for stream in (5, 11):
            assert client.response(stream).status == 200
        one.has_begun("hold-1")
        assert [name for name in one.begun() if name.startswith("hold")] == ["hold-1"]
        # One that the client no longer waits for is not called.
        client.send(rst_stream(9))
        client.round_trip()
        one.open("hold-1", "hold-3", "hold-7")
        for stream in (1, 3, 7):
            assert client.response(stream).status == 200
    held = [name for name in one.begun() if name.startswith("hold")]
    assert sorted(held) == ["hold-1", "hold-3", "hold-7"]
    assert one.most_at_once("hold") == 1


def fields_of(name, path=None):
    path = path or ("/shop" if name.startswith("shop") else "/reports")
    return [*(pair for pair in GET if pair[0] != b":path"), (b":path", f"{path}?{name}".encode())]


def test_bulkheads_lie_within_each_other(site):
    one = site(
        """
        threads = 4
        [[route]]
        path = "/reports"
        threads = "75%"
        [[route]]
        path = "/reports/yearly"
        threads = 1
        """
    )
    names = {
        **{f"hold-y{number}": "/reports/yearly" for number in range(3)},
        **{f"hold-m{number}": "/reports/monthly" for number in range(4)},
    }
    wires = [one.send(f"{path}?{name}") for name, path in names.items()]
    eventually(lambda: len(one.begun()) == 3, what="three reports run")
    one.answers_shop(5)
    begun = [name for name in one.begun() if name in names]
    assert len(begun) == 3
    assert len([name for name in begun if name.startswith("hold-y")]) <= 1
    one.open(*names)
    assert all(wire.response().status == 200 for wire in wires)
    assert one.most_at_once("hold") == 3
    assert one.most_at_once("hold-y") == 1


@pytest.mark.parametrize("kind", ["raise", "plain", "gone"])
def test_a_place_is_given_back_however_a_request_ends(site, kind):
    one = site(REPORTS)
    for number in range(5):
        name = f"{kind}-{number}"
        if kind == "gone":
            # It waits for a place when its client leaves.
            first = one.send(f"/reports?hold-{number}")
            one.has_begun(f"hold-{number}")
            one.send(f"/reports?{name}").close()
            one.answers_shop(1)
            one.open(f"hold-{number}")
            assert first.response().status == 200
        else:
            status = one.server.get(f"/reports?{name}").status
            assert status == (500 if kind == "raise" else 200)
    assert one.server.get("/reports?last").body == b"last 0"


def test_a_late_call_holds_its_place_until_its_thread_is_free(site):
    one = site(REPORTS + 'request_timeout = "2s"\n')
    late = one.send("/reports?hold-late")
    one.has_begun("hold-late")
    assert late.response().status == 504
    assert one.server.get("/reports?next").body == b"next 0"
    assert one.notes().index("end hold-late") < one.notes().index("begin next")


def test_a_call_holds_its_place_in_close(site):
    one = site(REPORTS)
    assert one.send("/reports?close-first").response().body == b"close-first"
    last = one.send("/reports?last")
    one.answers_shop(3)
    assert "last" not in one.begun()
    one.open("close-first")
    assert last.response().body == b"last 0"
    assert one.notes().index("end close-first") < one.notes().index("begin last")


def test_a_call_that_takes_its_connection_over_gives_its_place_back(site):
    one = site(REPORTS)
    socket = one.send("/reports?socket-1", "Connection: upgrade", "Upgrade: echo")
    assert socket.head().status == 101
    assert one.server.get("/reports?other").body == b"other 0"
    assert "end socket-1" not in one.notes()
    one.open("socket-1")
    socket.expect_close()
    assert one.server.get("/reports?last").body == b"last 0"


def test_requests_wait_as_long_as_their_route_allows(site):
    one = site(REPORTS + 'queue_timeout = "300ms"\n')
    first = one.send("/reports?hold-1")
    one.has_begun("hold-1")
    assert one.server.get("/reports?late").status == 503
    one.server.wait_for_log("waited for a thread for longer than queue_timeout or request_timeout")
    one.answers_shop(2)
    one.open("hold-1")
    assert first.response().status == 200
    assert "late" not in one.begun()


def test_requests_that_wait_for_a_place_do_not_fill_the_queue(site):
    one = site(REPORTS, "--queue-size", "2")
    wires = [one.send("/reports?hold-1")]
    one.has_begun("hold-1")
    wires += [one.send(f"/reports?wait-{number}") for number in range(5)]
    # Two wait, and the others are refused at once.
    sockets = [wire.socket for wire in wires]
    eventually(lambda: len(select.select(sockets, [], [], 0)[0]) == 3, what="three refusals")
    one.answers_shop(3)
    one.open("hold-1")
    statuses = sorted(wire.response().status for wire in wires)
    assert statuses == [200, 200, 200, 503, 503, 503]


def test_a_higher_priority_is_taken_first(site):
    one = site(
        """
        threads = 1
        [[route]]
        path = "/batch"
        priority = "low"
        [[route]]
        path = "/pay"
        priority = "high"
        """
    )
    with Http2(one.server.address) as client:
        client.settled()
        client.send(headers(1, fields_of("hold-1", "/shop")))
        one.has_begun("hold-1")
        # The only thread is in the call: all of them are there when it returns.
        order = {3: "/batch", 5: "/shop", 7: "/pay", 9: "/batch", 11: "/pay", 13: "/shop"}
        sent = (headers(stream, fields_of(f"{stream}", path)) for stream, path in order.items())
        client.send(b"".join(sent))
        one.open("hold-1")
        for stream in order:
            assert client.response(stream).status == 200
    assert one.begun() == ["hold-1", "7", "11", "5", "13", "3", "9"]


def test_deadlines_are_those_of_the_route(site):
    one = site(
        """
        threads = 2
        request_timeout = 60
        [[route]]
        path = "/reports"
        request_timeout = 120
        [[route]]
        path = "/reports/endless"
        request_timeout = 0
        [[route]]
        path = "/brief"
        request_timeout = "300ms"
        """
    )
    for path, expected in [
        ("/shop", b"60 0"),
        ("/reports/yearly", b"120 0"),
        ("/reports/endless/1", b"none 0"),
    ]:
        assert one.server.get(f"{path}?deadline").body == expected, path
    assert one.server.get("/brief?hold-1").status == 504
    one.server.wait_for_log(r"setting: request_timeout = 300ms")


BODIES = """
threads = 2
limit_request_body = 1000
stream_request_body = ["/stream"]
[[route]]
path = "/small"
max_body = 10
[[route]]
path = "/large"
max_body = 5000
[[route]]
path = "/stream"
max_body = 20
[[route]]
path = "/any"
max_body = 0
"""
LIMITS = [("/small", 10), ("/other", 1000), ("/large/x", 5000), ("/stream/x", 20), ("/any", None)]


@pytest.mark.parametrize("framing", ["length", "chunked", "http2", "http2 with a length"])
@pytest.mark.parametrize(("path", "limit"), LIMITS)
def test_bodies_are_limited_by_route(site, path, limit, framing):
    one = site(BODIES)
    for length in (limit or 9000, (limit or 9000) + 1):
        expected = 413 if limit is not None and length > limit else 200
        body = bytes(length)
        if framing.startswith("http2"):
            fields = [(name, value) for name, value in fields_of("name", path) if value != b"GET"]
            fields.insert(0, (b":method", b"POST"))
            if framing != "http2":
                fields.append((b"content-length", b"%d" % length))
            with Http2(one.server.address) as client:
                client.settled()
                client.send(headers(1, fields, end_stream=False), data(1, body))
                found = client.response(1)
                status, text = found.status, found.body
                # The connection is as before.
                assert client.request(3).status == 200
        else:
            lines = ["Connection: close"]
            sent = request("POST", f"{path}?name", *lines, body=body)
            if framing == "chunked":
                lines.append("Transfer-Encoding: chunked")
                sent = request("POST", f"{path}?name", *lines) + chunked([body[:7], body[7:]])
            response = one.server.exchange(sent, "POST")
            status, text = response.status, response.body
        assert status == expected, (path, length)
        if status == 200:
            assert text == b"name %d" % length


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(site):
    one = site(BODIES)
    for path, limit in LIMITS:
        if limit is None:
            continue
        with one.server.connect() as wire:
            lines = ("Expect: 100-continue", f"Content-Length: {limit + 1}")
            wire.send(request("POST", f"{path}?name", *lines))
            assert wire.response().status == 413, path
    assert one.begun() == []
