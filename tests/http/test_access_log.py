"""One line per request head, whatever became of it, and no client can write a line of its own."""

import json
import re
import socket
import struct

import pytest
from harness import eventually, request
from harness.admin import Admin

COMBINED = re.compile(
    r"(\S+) (\S+) (\S+) \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
    r'"((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"'
)
ATOMS = (
    "%(h)s|%(l)s|%(u)s|%(m)s|%(U)s|%(q)s|%(H)s|%(s)s|%(B)s|%(b)s|%(f)s|%(a)s|%(T)s|%(M)s|%(D)s"
    "|%(L)s|%(p)s|%({x-request}i)s|%({x-reply}o)s|%({wsgi.url_scheme}e)s|%({x-none}i)s|%(r)s|%(t)s"
)


@pytest.fixture
def logged(start, tmp_path):
    """Starts a server; gives it and a function that waits for its access-log lines."""

    def begin(*arguments, app="wire_app:app"):
        path = tmp_path / "access.log"
        server = start(app, "--access-logfile", str(path), "--threads", "2", *arguments)

        def lines(count):
            def complete():
                data = path.read_bytes() if path.exists() else b""
                return data if data.count(b"\n") >= count else None

            data = eventually(complete, what=f"{count} access-log lines")
            assert data.endswith(b"\n")
            return data.decode("ascii").splitlines()

        return server, lines

    return begin


def test_a_request_is_one_combined_line(logged):
    server, lines = logged()
    server.get("/a?b=c", "Referer: http://r.test/", "User-Agent: a client/1.0")
    (line,) = lines(1)
    matched = COMBINED.fullmatch(line)
    assert matched, line
    assert matched[1] == "127.0.0.1"
    assert matched.groups()[3:] == (
        "GET /a?b=c HTTP/1.1", "200", "7", "http://r.test/", "a client/1.0",
    )  # fmt: skip


def test_keys_of_environ_are_found_without_case(logged):
    server, lines = logged(
        "--access-logformat", "%({raw_uri}e)s %({Server_Protocol}e)s %({none}e)s"
    )
    server.get("/a?b=c")
    assert lines(1) == ["/a?b=c HTTP/1.1 -"]


def test_the_common_format_has_no_referer_and_no_agent(logged):
    server, lines = logged("--access-logformat", "common")
    server.get("/a", "User-Agent: hidden")
    (line,) = lines(1)
    assert re.fullmatch(r'127\.0\.0\.1 - - \[[^]]+\] "GET /a HTTP/1\.1" 200 7', line), line


def test_there_is_exactly_one_line_for_every_head_also_refused_and_aborted_ones(logged):
    server, lines = logged("--limit-request-body", "1000", "--head-timeout", "1", app="faults:app")
    server.get("/pid")
    server.get("/raise-before")
    for target in ("/raise-midstream", "/raise-midstream-length"):
        with server.connect() as wire:
            wire.send(request("GET", target))
            wire.rest()
    server.exchange(request("POST", "/pid", "Content-Length: 5000"))
    server.exchange(request("GET", "/no-host", host=None))
    server.exchange(request("GET", "/bad name", "Connection: close"))
    with server.connect() as wire:
        wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n")
        assert wire.response().status == 408
    with server.connect() as wire:
        wire.send(request("GET", "/pid") * 2 + request("GET", "/pid", "Connection: close"))
        wire.rest()
    server.get("/pid?the-last")
    found = eventually(
        lambda: lines(11) if any("the-last" in line for line in lines(11)) else None,
        what="the last line",
    )
    assert any('"GET /slow HTTP/1.1" 408' in line for line in found), found
    statuses = sorted(COMBINED.fullmatch(line)[5] for line in found)
    assert statuses == sorted(["200", "500", "200", "200", "413", "400", "400", "408",
                               "200", "200", "200", "200"]), found  # fmt: skip


def test_a_client_that_leaves_in_the_response_is_one_line(logged):
    server, lines = logged()
    with server.connect() as wire:
        wire.send(request("GET", "/large-stream?megabytes=50"))
        wire.head()
    lines(1)
    server.get("/after")
    assert len(lines(2)) == 2


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("has_begun", [False, True])
def test_a_client_that_leaves_has_499_unless_something_of_the_response_had_left(
    start, tmp_path, threads, has_begun
):
    """And one loss in the metrics either way, whose status no client received."""
    log, gate = tmp_path / "access.log", tmp_path / "gate"
    admin = Admin(
        start, tmp_path, "gates:app", "--threads", threads, "--access-logfile", str(log),
        "--access-logformat", "json",
    )  # fmt: skip
    with admin.server.connect() as wire:
        # The connection has had a whole response before.
        wire.send(request("GET", "/"))
        assert wire.response().status == 200
        wire.send(request("GET", f"/{'halfway' if has_begun else 'hold'}?{gate}"))
        eventually((tmp_path / "gate.started").exists, what="the call")
        if has_begun:
            assert wire.head().status == 200
        linger = struct.pack("ii", 1, 0)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    gate.touch()
    line = eventually(
        lambda: [json.loads(line) for line in log.read_text().splitlines() if "gate" in line],
        what="its line",
    )[0]
    assert (line["status"], line["outcome"]) == (200 if has_begun else 499, "client_gone")
    samples = admin.samples()
    assert samples['lockgate_requests_lost_total{reason="client_gone"}'] == 1
    assert samples['lockgate_responses_total{class="2xx"}'] == 1
    assert 'lockgate_responses_total{class="1xx"}' not in samples
    assert admin.status()["lost"]["client_gone"] == 1


def test_a_connection_without_a_request_is_not_logged(logged):
    server, lines = logged()
    server.connect().close()
    server.get("/only")
    assert len(lines(1)) == 1


FORGERIES = [
    (request("GET", "/a%0aFAKE%0d%0aFAKE", "Connection: close"), 200),
    (request("GET", "/a%22%20200%20%22FAKE", "Connection: close"), 200),
    (request("GET", '/a"FAKE', "Connection: close"), None),
    (request("GET", "/a\\FAKE", "Connection: close"), None),
    (request("GET", "/%1b%5b31mFAKE%00%7f%9b", "Connection: close"), None),
    (request("GET", "/", 'User-Agent: "FAKE" \\"', "Connection: close"), 200),
    (request("GET", "/", "User-Agent: \x1b[31mFAKE", "Connection: close"), None),
    (request("GET", "/", "Referer: \x80\x85\x9b\xff\xe2\x80\xa8FAKE", "Connection: close"), 200),
    (request("GET", "/", "User-Agent: a\nFAKE", "Connection: close"), 400),
    (request("GET", "/", "User-Agent: a\rFAKE", "Connection: close"), 400),
    (request("GET", "/", "User-Agent: a\x00FAKE", "Connection: close"), 400),
    (request("GET", "/", "Authorization: Basic CkZBS0UKOng=", "Connection: close"), 200),
    (b"FAKE\x1b\x00\xff\r\n\r\n", 400),
]


@pytest.mark.parametrize("form", ["combined", "json", ATOMS], ids=["combined", "json", "atoms"])
def test_no_client_can_add_a_line_or_a_control_byte(logged, form):
    server, lines = logged("--access-logformat", form)
    for data, status in FORGERIES:
        response = server.exchange(data)
        assert status is None or response.status == status, data
        assert response.status in (200, 400), data
    found = lines(len(FORGERIES))
    assert len(found) == len(FORGERIES)
    for line in found:
        assert not re.search(r"[\x00-\x1f\x7f-\xff]", line), line
        assert not line.startswith("FAKE")
        if form == "combined":
            assert COMBINED.fullmatch(line), line
        elif form == "json":
            assert isinstance(json.loads(line), dict)
        else:
            assert "\x22" not in line.replace('\\"', "").replace("\\x22", ""), line


def test_a_json_line_has_typed_values(logged):
    server, lines = logged("--access-logformat", "json")
    server.get("/a%20b?q", 'User-Agent: say "hi" \\ \xe9')
    record = json.loads(lines(1)[0])
    expected = {
        "client": "127.0.0.1",
        "method": "GET",
        "target": "/a%20b?q",
        "path": "/a b",
        "query": "q",
        "protocol": "HTTP/1.1",
        "status": 200,
        "body_bytes": 9,
        "pid": server.workers()[0],
    }
    assert {key: record.get(key) for key in expected} == expected
    assert isinstance(record["duration"], float)
    assert record["user_agent"].startswith('say "hi" \\ ')


def test_every_atom_of_gunicorn_is_understood(logged):
    server, lines = logged("--access-logformat", ATOMS)
    server.get(
        "/cookies?q=1", "Referer: http://r.test", "User-Agent: agent", "X-Request: asked",
        "Authorization: Basic YWxpY2U6c2VjcmV0",
    )  # fmt: skip
    (line,) = lines(1)
    values = line.split("|")
    assert values[:12] == [
        "127.0.0.1", "-", "alice", "GET", "/cookies", "q=1", "HTTP/1.1", "200", "7", "7",
        "http://r.test", "agent",
    ]  # fmt: skip
    assert values[12] == "0" and values[13].isdigit() and values[14].isdigit()
    assert re.fullmatch(r"0\.\d{6}", values[15])
    (worker,) = server.workers()
    assert values[16] == f"<{worker}>"
    assert values[17:22] == ["asked", r"r\xe9", "http", "-", "GET /cookies?q=1 HTTP/1.1"]
    assert re.fullmatch(r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]", values[22])
    assert "secret" not in line


def test_a_dash_means_standard_output(start):
    server = start("wire_app:app", "--access-logfile", "-")
    server.get("/to-stdout")
    eventually(lambda: "GET /to-stdout HTTP/1.1" in server.output, what="a line on stdout")


def test_there_is_no_access_log_unless_asked_for(start):
    server = start("wire_app:app")
    server.get("/unlogged")
    assert server.stop() == 0
    assert "/unlogged" not in server.output + server.errors


def test_a_refused_request_has_its_reason(logged):
    server, lines = logged("--access-logformat", "json", "--limit-request-line", "64")
    refused = {
        b"GET /old\r\n\r\n": "missing_version",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n": "unsupported_version",
        b"GET /" + b"a" * 100: "request_line_too_long",
        b"GET / HTTP/1.1\r\n\r\n": "missing_host",
        request("GET", "/", "Connection: close"): None,
    }
    for data in refused:
        server.exchange(data)
    assert [json.loads(line)["reason"] for line in lines(len(refused))] == [*refused.values()]


def test_options_of_the_server_itself_has_its_line(logged):
    server, lines = logged("--access-logformat", '%(s)s "%(r)s" %(B)s %(R)s')
    with server.connect() as wire:
        wire.send(request("OPTIONS", "*") * 2)
        assert [wire.response("OPTIONS").status for _ in range(2)] == [200, 200]
    assert lines(2) == ['200 "OPTIONS * HTTP/1.1" 0 -'] * 2


def test_the_reason_of_a_refusal_is_an_atom(logged):
    server, lines = logged("--access-logformat", "%(s)s %(R)s")
    server.get("/")
    server.exchange(request("GET", "/", host=None))
    assert lines(2) == ["200 -", "400 missing_host"]


def test_refused_requests_show_what_the_client_said_and_what_it_was_answered(logged):
    form = '%(s)s "%(r)s" %(B)s'
    server, lines = logged("--access-logformat", form, "--limit-request-line", "64")
    refused = {
        b"GET /old\r\n\r\n": '400 "GET /old"',
        b"GET /new HTTP/9.9\r\nHost: a\r\n\r\n": '505 "GET /new HTTP/9.9"',
        b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a\r\n\r\n": f'414 "GET /{"a" * 61}"',
        b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n": '400 "POST /x HTTP/1.0"',
    }
    expected = []
    for data, line in refused.items():
        response = server.exchange(data)
        expected.append(f"{line} {len(response.body)}")
    assert lines(len(expected)) == expected


def test_the_bytes_of_an_abandoned_response_are_those_that_have_left(logged):
    server, lines = logged("--access-logformat", "%(U)s %(s)s %(B)s")
    with server.connect() as wire:
        wire.send(request("GET", "/large?megabytes=64"))
        assert wire.head().length == 64 << 20
        assert len(wire._take(100_000)) == 100_000
    (line,) = lines(1)
    path, status, size = line.split()
    assert (path, status) == ("/large", "200")
    # What the kernel holds for a client that does not read has left as well: some megabytes.
    assert 100_000 <= int(size) < 32 << 20
