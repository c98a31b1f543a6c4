"""Access log, metrics and current requests of HTTP/2: one line and one count for each stream."""

import json
import re

import pytest
from harness import eventually
from harness.admin import Admin
from harness.http2 import (
    CANCEL,
    GET,
    INITIAL_WINDOW_SIZE,
    POST,
    Http2,
    data,
    headers,
    rst_stream,
    settings,
)


def fields(path, *more, method=b"GET"):
    return ((b":method", method), *GET[1:2], (b":path", str(path).encode()), *GET[3:], *more)


class Logged:
    """A server whose access log and metrics are read."""

    def __init__(self, start, directory, app, *arguments, form="json"):
        self.log = directory / "access.log"
        files = ("--access-logfile", str(self.log), "--access-logformat", form)
        self.admin = Admin(start, directory, app, "--threads", "4", *files, *arguments)
        self.server = self.admin.server
        self.address = self.server.address

    def lines(self, count):
        def complete():
            text = self.log.read_text() if self.log.exists() else ""
            return text.splitlines() if text.count("\n") >= count else None

        found = eventually(complete, what=f"{count} lines")
        assert len(found) == count, found
        return found

    def entries(self, count):
        return [json.loads(line) for line in self.lines(count)]


@pytest.fixture
def logged(start, tmp_path):
    return lambda *arguments, **options: Logged(start, tmp_path, *arguments, **options)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("common", r'127\.0\.0\.1 - - \[[^]]+\] "GET /a\?b=c HTTP/2\.0" 200 7'),
        ("combined", r'127\.0\.0\.1 - - \[[^]]+\] "GET /a\?b=c HTTP/2\.0" 200 7 '
                     r'"http://r\.test/" "a client/1\.0"'),
    ],
)  # fmt: skip
def test_a_stream_is_one_line(logged, form, expected):
    site = logged("wire_app:app", form=form)
    more = ((b"referer", b"http://r.test/"), (b"user-agent", b"a client/1.0"))
    with Http2(site.address) as client:
        assert client.request(1, fields("/a?b=c", *more)).body == b"GET /a "
    (line,) = site.lines(1)
    assert re.fullmatch(expected, line), line


def test_json_has_the_protocol_the_bytes_and_the_time(logged):
    site = logged("wire_app:app")
    with Http2(site.address) as client:
        assert len(client.request(1, fields("/large?megabytes=2")).body) == 2 << 20
        assert client.request(3, fields("/a", method=b"HEAD")).body == b""
        assert client.request(5, fields("/status?code=404&body=none")).status == 404
    found = {entry["path"]: entry for entry in site.entries(3)}
    large, head, missing = found["/large"], found["/a"], found["/status"]
    for entry in found.values():
        assert (entry["protocol"], entry["outcome"]) == ("HTTP/2.0", "complete"), entry
        assert entry["client"] == "127.0.0.1"
        assert 0 < entry["duration"] < 20, entry
    assert (large["method"], large["status"], large["body_bytes"]) == ("GET", 200, 2 << 20)
    assert (head["method"], head["status"], head["body_bytes"]) == ("HEAD", 200, 0)
    assert (missing["status"], missing["body_bytes"]) == (404, 4)


def test_a_hundred_streams_are_a_hundred_lines_and_counts(logged):
    site = logged("wire_app:app")
    with Http2(site.address) as client:
        client.settled()
        client.send(*(headers(number, fields(f"/{number}")) for number in range(1, 201, 2)))
        for number in range(1, 201, 2):
            assert client.response(number).status == 200
    paths = {entry["path"] for entry in site.entries(100)}
    assert paths == {f"/{number}" for number in range(1, 201, 2)}
    samples = site.admin.samples()
    assert samples['lockgate_responses_total{class="2xx"}'] == 100
    assert samples["lockgate_request_duration_seconds_count"] == 100
    assert samples["lockgate_received_bytes_total"] > 100 * 20
    assert samples["lockgate_sent_bytes_total"] > 100 * (9 + 9 + len("GET /1 "))
    assert "lockgate_requests_lost_total" not in {
        name.partition("{")[0] for name, value in samples.items() if value
    }


def begin_held(client, site, stream, gate, path="hold"):
    client.send(headers(stream, fields(f"/{path}?{gate}")))
    eventually(gate.with_name(gate.name + ".started").exists, what="the call")


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_stream_that_its_client_resets_is_a_client_that_has_gone(logged, tmp_path, has_begun):
    site = logged("gates:app")
    gate = tmp_path / "gate"
    with Http2(site.address) as client:
        assert client.request(1, fields("/")).status == 200
        begin_held(client, site, 3, gate, "halfway" if has_begun else "hold")
        if has_begun:
            client.wait(lambda: client.streams[3].body, "the first half")
        client.send(rst_stream(3, CANCEL))
        client.round_trip()
        gate.touch()
        assert client.request(5, fields("/")).status == 200
    entry = next(entry for entry in site.entries(3) if "gate" in (entry["query"] or ""))
    assert (entry["status"], entry["outcome"]) == (200 if has_begun else 499, "client_gone")
    samples = site.admin.samples()
    assert samples['lockgate_requests_lost_total{reason="client_gone"}'] == 1
    assert samples['lockgate_responses_total{class="2xx"}'] == 2
    assert site.admin.status()["lost"]["client_gone"] == 1


def test_streams_of_a_client_that_disconnects_have_gone(logged, tmp_path):
    site = logged("gates:app")
    gates = [tmp_path / f"gate{number}" for number in range(3)]
    with Http2(site.address) as client:
        for stream, gate in zip((1, 3, 5), gates, strict=True):
            begin_held(client, site, stream, gate)
    # The event loop reads the end of the connection before it answers the next one.
    assert site.server.get("/").status == 200
    for gate in gates:
        gate.touch()
    entries = [entry for entry in site.entries(4) if entry["path"] == "/hold"]
    found = [(entry["status"], entry["outcome"]) for entry in entries]
    assert found == [(499, "client_gone")] * 3
    assert site.admin.status()["lost"]["client_gone"] == 3


def test_the_bytes_of_an_abandoned_download_are_those_that_were_sent(logged):
    site = logged("wire_app:app")
    opening = settings((INITIAL_WINDOW_SIZE, 1000))
    with Http2(site.address, opening, window_updates=False) as client:
        client.settled()
        client.send(headers(1, fields("/large?megabytes=64")))
        client.wait(lambda: len(client.streams[1].body) == 1000, "1000 bytes")
        client.send(rst_stream(1))
        client.round_trip()
        client.send(headers(3, fields("/large-stream?megabytes=64")))
        client.wait(lambda: len(client.streams[3].body) == 1000, "1000 bytes")
        client.send(rst_stream(3))
        client.round_trip()
        found = {entry["path"]: entry for entry in site.entries(2)}
    for entry in found.values():
        assert (entry["status"], entry["outcome"]) == (200, "client_gone")
        assert entry["body_bytes"] == 1000, entry


def test_a_body_that_its_client_gives_up_is_a_loss(logged):
    site = logged("wire_app:app")
    with Http2(site.address) as client:
        head = fields("/a", (b"content-length", b"10"), method=b"POST")
        client.send(headers(1, head, end_stream=False), data(1, b"half", end_stream=False))
        client.send(rst_stream(1))
        client.round_trip()
    (entry,) = site.entries(1)
    assert (entry["status"], entry["outcome"], entry["method"]) == (499, "client_gone", "POST")
    assert site.admin.status()["lost"]["client_gone"] == 1


def test_refused_streams_have_their_line_and_reason(logged):
    site = logged("wire_app:app", "--limit-request-body", "1000", "--limit-request-line", "64")
    with Http2(site.address) as client:
        client.settled()
        length = (b"content-length", b"5000")
        client.send(headers(1, fields("/large", length, method=b"POST"), end_stream=False))
        assert client.response(1).status == 413
        client.send(headers(3, fields("/" + "a" * 100)))
        assert client.response(3).status == 414
        client.send(headers(5, fields("/upper", (b"X-Upper", b"case"))))
        client.wait(lambda: client.streams[5].reset is not None, "RST_STREAM")
        assert client.request(7, fields("/last")).status == 200
    entries = site.entries(4)
    assert [(entry["status"], entry["outcome"]) for entry in entries] == [
        (413, "refused"), (414, "refused"), (400, "refused"), (200, "complete"),
    ]  # fmt: skip
    assert all(entry["reason"] for entry in entries[:3]), entries
    assert site.admin.samples()['lockgate_responses_total{class="4xx"}'] == 2


def test_an_application_that_fails_behind_its_head_is_a_loss(logged):
    site = logged("faults:app")
    with Http2(site.address) as client:
        client.send(headers(1, fields("/raise-midstream")))
        client.wait(lambda: client.streams[1].reset is not None, "RST_STREAM")
    (entry,) = site.entries(1)
    assert (entry["status"], entry["outcome"]) == (200, "aborted")
    assert site.admin.samples()['lockgate_requests_lost_total{reason="aborted"}'] == 1


def test_no_client_can_write_a_line_of_its_own(logged):
    site = logged("wire_app:app", form="combined")
    with Http2(site.address) as client:
        more = ((b"user-agent", b'"FAKE" \\"'), (b"referer", b"\x80\x85\x9b\xffFAKE"))
        client.request(1, fields("/a%0aFAKE%22", *more))
        client.send(headers(3, fields("/", (b"user-agent", b"a\nFAKE"))))
        client.wait(lambda: client.streams[3].reset is not None, "RST_STREAM")
    for line in site.lines(2):
        assert line.isascii() and line.isprintable(), line
        assert len(re.findall(r'(?<!\\)"', line)) == 6, line


def test_status_top_and_stacks_show_each_stream_of_a_connection(logged, tmp_path):
    site = logged("gates:app", "--admin-show", "targets")
    gates = [tmp_path / f"gate{number}" for number in range(3)]
    with Http2(site.address) as client:
        for stream, gate in zip((1, 3, 5), gates, strict=True):
            begin_held(client, site, stream, gate)
        (worker,) = site.admin.status()["workers"]
        assert worker["threads_busy"] == 3
        running = {entry["target"]: entry for entry in worker["running"]}
        assert set(running) == {f"/hold?{gate}"[:128] for gate in gates}
        for entry in running.values():
            assert (entry["method"], entry["client"]) == ("GET", "127.0.0.1")
        said = site.admin.ctl("requests").stdout
        assert said.count("GET /hold?") == 3, said
        in_calls = [
            thread["request"]["target"]
            for worker in site.admin.stacks()
            for thread in worker["threads"]
            if thread["request"]
        ]
        assert len(in_calls) == 3
        for stream, gate in zip((1, 3, 5), gates, strict=True):
            gate.touch()
            assert client.response(stream).status == 200
    eventually(lambda: site.admin.status()["workers"][0]["threads_busy"] == 0, what="nothing runs")
    assert site.admin.ctl("requests").stdout == "no request is running\n"


def test_the_connection_is_counted_once_and_goes_with_its_client(logged):
    site = logged("wire_app:app")

    def connections():
        return site.admin.status()["workers"][0]["connections"]

    before = connections()
    with Http2(site.address) as client:
        for number in range(1, 20, 2):
            client.request(number, fields("/"))
        eventually(lambda: connections() == before + 1, what="one connection")
    eventually(lambda: connections() == before, what="it has left")


def test_atoms_are_those_of_the_stream(logged):
    site = logged("wire_app:app", form="%(m)s %(U)s %(q)s %(H)s %(s)s %({x-request}i)s")
    with Http2(site.address) as client:
        client.request(1, fields("/a?b=1", (b"x-request", b"first")))
        client.request(3, (*POST, (b"x-request", b"second")), b"body")
    assert sorted(site.lines(2)) == [
        "GET /a b=1 HTTP/2.0 200 first",
        "POST /  HTTP/2.0 200 second",
    ]
