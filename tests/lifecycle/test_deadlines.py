"""Requests over their deadline: the response to the client, and no effect on other requests."""

import json
import re
import signal
import time
from collections import Counter

import pytest
from harness import Load, Truncated, eventually, request
from harness.admin import Admin

# Long enough for a busy machine to answer whatever is not late, and short enough to wait for.
LIMIT = 1.5
# What a busy machine may take on top; the promise is a second.
SLACK = 1.0
LATE = ("--request-timeout", str(LIMIT))

INTERRUPTED = {
    "/spin": "endless_loop",
    "/stubborn-spin": "endless_loop",
}
STUCK = {
    "/sleep": "long_sleep",
    "/deadlock": "wait_for_lock",
}


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def begin(wire, target, mark):
    """Sends a request and waits until the application has been called with it."""
    wire.send(request("GET", target, f"X-Mark: {mark}"))
    eventually(mark.exists, what=f"{target} has begun")


def get_late(server, target):
    """The response, and how long it took."""
    with server.connect() as wire:
        began = time.monotonic()
        wire.send(request("GET", target))
        response = wire.response()
        wire.expect_close()
    return response, time.monotonic() - began


def expect_504(server, target):
    response, taken = get_late(server, target)
    assert response.status == 504
    assert response.wants_close()
    assert LIMIT * 0.9 < taken < LIMIT + SLACK
    return response


@pytest.mark.parametrize("threads", ["1", "4", "auto"])
@pytest.mark.parametrize("target", INTERRUPTED)
def test_a_loop_is_interrupted_where_it_is_and_the_worker_continues(shared, threads, target):
    server = shared("late:app", *LATE, "--threads", threads)
    (worker,) = server.workers()
    logged = len(server.errors)
    expect_504(server, target)
    record = server.wait_for_log(
        rf"GET {target} of 127\.0\.0\.1 has taken [\d.]+ s .*request_timeout.*answered with 504"
        rf".*interrupting.*\n(.*\n)*.*in {INTERRUPTED[target]}\n",
        within=1 + SLACK,
        since=logged,
    )
    assert "late.py" in record
    server.wait_for_log(r"its thread is free again", since=logged)
    # Logged once, with its stack; not again as a failure of the application.
    assert "Error handling request" not in server.errors[logged:]
    assert int(server.get("/pid").body) == worker


def test_others_are_answered_while_a_call_computes_until_its_deadline(shared):
    server = shared("late:app", *LATE, "--threads", "4")
    with server.connect() as late:
        late.send(request("GET", "/spin"))
        with Load(server.address, clients=2, path="/brief") as load:
            assert late.response().status == 504
        assert load.ok > 10
        assert load.failures == []


def test_the_raised_exception_is_not_caught_by_except_exception(shared, tmp_path):
    server = shared("late:app", *LATE, "--threads", "4")
    notes = tmp_path / "notes"
    expect_504(server, f"/cleaned?{notes}")
    eventually(lambda: lines(notes) == ["BaseException", "finally"], what="its notes")


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "4", "auto"])
@pytest.mark.parametrize("target", STUCK)
def test_a_call_that_cannot_be_interrupted_has_its_worker_replaced(start, threads, target):
    server = start("late:app", *LATE, "--threads", threads)
    (worker,) = server.workers()
    expect_504(server, target)
    server.wait_for_log(rf"GET {target} .*\n(.*\n)*.*in {STUCK[target]}\n", within=1 + SLACK)
    if threads != "1":
        assert int(server.get("/pid").body) == worker
    server.wait_for_log(rf"GET {target} .* is still running .* will be replaced")
    eventually(lambda: server.workers() and worker not in server.workers(), what="another worker")
    assert int(server.get("/pid").body) != worker


@pytest.mark.slow
def test_no_request_fails_while_a_worker_with_a_stuck_call_is_replaced(start, tmp_path):
    server = start("late:app", "--request-timeout", "4", "--threads", "4")
    (worker,) = server.workers()
    with Load(server.address, clients=2, keep_alive=False, path="/brief") as load:
        with server.connect() as stuck:
            stuck.send(request("GET", "/sleep"))
            assert stuck.response().status == 504
        server.wait_for_log(r"will be replaced")
        eventually(
            lambda: server.workers() and worker not in server.workers(), what="another worker"
        )
        enough = load.ok + 10
        eventually(lambda: load.ok >= enough, what="its answers")
    assert load.failures == []


@pytest.mark.slow
def test_a_call_that_never_ends_is_counted_at_its_deadline(start, tmp_path):
    admin = Admin(start, tmp_path, "late:app", *LATE)
    expect_504(admin.server, "/sleep")
    refused = 'lockgate_responses_total{class="5xx"}'
    eventually(lambda: admin.samples()[refused] == 1, what="504 is counted")
    assert admin.samples()['lockgate_requests_lost_total{reason="request_timeout"}'] == 1
    assert admin.samples()['lockgate_threads_busy{worker="0"}'] == 1


def test_a_call_that_was_interrupted_is_counted_once(start, tmp_path):
    admin = Admin(start, tmp_path, "late:app", *LATE)
    expect_504(admin.server, "/spin")
    admin.server.wait_for_log(r"its thread is free again")
    assert admin.server.get("/pid").status == 200
    eventually(
        lambda: admin.samples()['lockgate_responses_total{class="2xx"}'] == 1, what="counted"
    )
    samples = admin.samples()
    assert samples['lockgate_requests_lost_total{reason="request_timeout"}'] == 1
    assert samples['lockgate_responses_total{class="5xx"}'] == 1
    assert samples['lockgate_requests_lost_total{reason="client_gone"}'] == 0


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_call_that_never_releases_the_gil_is_ended_and_affects_no_other_worker(start, threads):
    server = start("late:app", *LATE, "--threads", threads, workers=2)
    before = set(server.workers())
    expect_504(server, "/hold-interpreter")
    server.wait_for_log(
        r"GET /hold-interpreter .*answered with 504.* the GIL has not been released",
        within=1 + SLACK,
    )
    eventually(
        lambda: len(set(server.workers()) - before) == 1 and len(server.workers()) == 2,
        within=20,
        what="another worker in its place",
    )
    assert len(before & set(server.workers())) == 1
    # The stack that could not be taken before.
    server.wait_for_log(r"in hold_interpreter")
    assert server.get("/pid").status == 200


@pytest.mark.slow
def test_timeout_ends_a_call_that_keeps_the_gil_from_others_also_with_several_threads(
    start, tmp_path
):
    server = start("late:app", "--threads", "4", "--timeout", "1")
    (before,) = server.workers()
    with server.connect() as holding, server.connect() as waiting:
        begin(holding, "/hold-interpreter", tmp_path / "held")
        waiting.send(request("GET", "/pid"))
        server.wait_for_log(
            r"has been blocked for more than 1.00 s \(setting: timeout\)", within=20
        )
    eventually(lambda: server.workers() not in ([], [before]), within=20, what="another worker")
    assert server.get("/pid").status == 200


@pytest.mark.slow
def test_many_late_loops_below_many_files_are_all_interrupted_in_time(start, tmp_path):
    for number in range(30):
        (tmp_path / f"chain_{number}.py").write_text("# A line.\nanother = 1\n")
    server = start("late:app", "--request-timeout", "3", "--threads", "40")
    (worker,) = server.workers()
    wires = [server.connect() for _ in range(40)]
    for wire in wires:
        wire.send(request("GET", f"/spin-below-many-files?{tmp_path}"))
    statuses = Counter(wire.response().status for wire in wires)
    for wire in wires:
        wire.close()
    assert set(statuses) <= {503, 504} and statuses[504] > 10, statuses

    def is_free():
        return len(re.findall("its thread is free again", server.errors)) == statuses[504]

    eventually(is_free, within=20, what="all of them to be free again")
    assert int(server.get("/pid").body) == worker
    assert "will be replaced" not in server.errors
    assert re.search(
        # Python 3.14 and later have an instruction for the line after it, too.
        r"chain_29\.py.*\n    another = 1\n.*<lambda>\n.*\n.*in endless_loop\n"
        r"    (while True:|pass)",
        server.errors,
    )


@pytest.mark.slow
def test_a_request_that_waits_for_the_gil_of_an_extended_call_is_answered(start, tmp_path):
    server = start("late:app", *LATE, "--threads", "4")
    (worker,) = server.workers()
    with server.connect() as culprit:
        begin(culprit, "/extend-and-hold-interpreter", tmp_path / "culprit")
        expect_504(server, "/pid")
        server.wait_for_log(r"GET /pid .* is still running .* will be replaced")
        server.wait_for_log(r"blocks all other calls; this worker aborts")
        server.wait_for_log(r"in hold_interpreter")
    eventually(lambda: server.workers() and worker not in server.workers(), what="another worker")
    assert server.get("/pid").status == 200


@pytest.mark.slow
def test_a_server_that_stops_does_not_wait_for_a_stuck_call(start):
    server = start("late:app", *LATE, "--threads", "4", "--graceful-timeout", "10m")
    expect_504(server, "/sleep")
    # Time that has to pass: then nothing of the connection is left that wakes the worker.
    time.sleep(2.5)
    server.signal(signal.SIGTERM)
    assert server.wait(within=60) == 0
    assert "GET /sleep of 127.0.0.1 is still running" in server.errors


@pytest.mark.slow
def test_a_request_that_waits_for_the_held_gil_is_answered_too(start, tmp_path):
    server = start("late:app", *LATE, "--threads", "4")
    # So that there are threads: to start another one takes the interpreter.
    gates = [tmp_path / f"gate{number}" for number in range(3)]
    wires = [server.connect() for _ in gates]
    for wire, gate in zip(wires, gates, strict=True):
        wire.send(request("GET", f"/gated?{gate}"))
        eventually(gate.with_name(gate.name + ".started").exists, what="the call has begun")
    for wire, gate in zip(wires, gates, strict=True):
        gate.touch()
        assert wire.response().status == 200
        wire.close()
    with server.connect() as culprit, server.connect() as first, server.connect() as second:
        begin(culprit, "/hold-interpreter", tmp_path / "culprit")
        first.send(request("GET", "/pid"))
        second.send(request("GET", "/pid"))
        # One is in hand and waits for the interpreter; the other waits for a thread.
        statuses = sorted(wire.response().status for wire in (culprit, first, second))
    assert statuses == [503, 504, 504]


def test_a_response_that_has_begun_is_cut_so_that_it_does_not_look_complete(shared):
    server = shared("late:app", *LATE, "--threads", "4")
    for target in ("/stream", "/lengthless-stream"):
        began = time.monotonic()
        with server.connect() as wire:
            wire.send(request("GET", target))
            with pytest.raises((Truncated, ConnectionResetError)):
                wire.response()
        assert LIMIT * 0.9 < time.monotonic() - began < LIMIT + SLACK
    # Without chunks only a reset tells.
    with server.connect() as wire:
        wire.send(b"GET /stream HTTP/1.0\r\n\r\n")
        assert wire.response().framing == "close"
        assert wire.was_reset
    server.wait_for_log(r"GET /stream .*connection aborted")


def test_a_client_that_has_its_response_is_not_disturbed_by_a_late_close(shared):
    server = shared("late:app", *LATE, "--threads", "4")
    with server.connect() as wire:
        wire.send(request("GET", "/late-close"))
        assert wire.response().body == b"whole"
        wire.send(request("GET", "/pid"))
        assert wire.response().status == 200
        server.wait_for_log(r"GET /late-close .*the response was sent, but the call is still")
        server.wait_for_log(r"GET /late-close .*its thread is free again")
        wire.send(request("GET", "/pid"))
        assert wire.response().status == 200


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_response_at_the_very_deadline_is_whole_and_leaves_the_next_request_alone(
    shared, threads
):
    server = shared("late:app", "--request-timeout", "50ms", "--threads", threads)
    (worker,) = server.workers()
    statuses = Counter()
    ends_at = time.monotonic() + 4
    while time.monotonic() < ends_at:
        with server.connect() as wire:
            while time.monotonic() < ends_at:
                wire.send(request("GET", "/about-the-limit"))
                response = wire.response()
                statuses[response.status] += 1
                if response.wants_close():
                    assert response.status in (503, 504)
                    wire.expect_close()
                    break
                if response.status == 503:  # on a busy machine the late call keeps its thread
                    break
                assert response.body == b"in time"
                wire.send(request("GET", "/pid"))
                response = wire.response()
                if response.status == 504:  # a busy machine
                    break
                assert response.body == str(worker).encode()
    assert {200, 504} <= set(statuses) <= {200, 503, 504}, statuses
    assert statuses[200] > 5 and statuses[504] > 5, statuses
    # Whatever was raised was raised in the call that was late.
    assert "Error handling request" not in server.errors


def test_the_access_log_has_504(start, tmp_path):
    log = tmp_path / "access.log"
    server = start("late:app", *LATE, "--access-logfile", str(log), "--access-logformat", "json")
    expect_504(server, "/spin")
    with server.connect() as wire:
        wire.send(request("GET", "/stream"))
        with pytest.raises((Truncated, ConnectionResetError)):
            wire.response()
    entries = eventually(
        lambda: len(lines(log)) == 2 and [json.loads(line) for line in lines(log)], what="two lines"
    )
    assert [(entry["status"], entry["outcome"], entry["reason"]) for entry in entries] == [
        (504, "expired", "request_timeout"),
        (200, "expired", None),
    ]
    assert entries[0]["body_bytes"] == len("504 Gateway Timeout: the request took too long\n")


def test_a_head_request_gets_a_504_without_a_body(shared):
    server = shared("late:app", *LATE, "--threads", "4")
    assert server.get("/spin", method="HEAD").status == 504


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_request_behind_late_calls_is_run_and_answered_or_neither(start, tmp_path, threads):
    server = start("late:app", *LATE, "--threads", threads)
    wires = [server.connect() for _ in range(int(threads))]
    for number, wire in enumerate(wires):
        begin(wire, "/spin", tmp_path / f"late{number}")
    gate = tmp_path / "gate"
    gate.touch()
    with server.connect() as queued:
        queued.send(request("GET", f"/gated?{gate}"))
        for wire in wires:
            assert wire.response().status == 504
            wire.close()
        # It has waited until its own deadline, or got a thread that came free just before.
        status = queued.response().status
    assert server.get("/pid").status == 200
    assert status == (200 if (tmp_path / "gate.started").exists() else 503)


@pytest.mark.parametrize("threads", [2, 4])
def test_a_request_that_finds_no_thread_before_its_deadline_is_never_run(start, tmp_path, threads):
    server = start("late:app", *LATE, "--threads", str(threads))
    wires = [server.connect() for _ in range(threads)]
    for number, wire in enumerate(wires):
        begin(wire, "/extend", tmp_path / f"busy{number}")
    with server.connect() as queued:
        queued.send(request("GET", f"/gated?{tmp_path}/gate"))
        response = queued.response()
    for wire in wires:
        assert wire.response().status == 200
        wire.close()
    assert response.status == 503
    assert response.header("Retry-After") == "1"
    # The threads are free again.
    assert server.get("/pid").status == 200
    assert not (tmp_path / "gate.started").exists()
    server.wait_for_log(r"waited for a thread for longer than request_timeout")


def test_an_application_can_extend_its_own_deadline(shared):
    server = shared("late:app", *LATE, "--threads", "4")
    had, has, unchanged = map(float, server.get("/extend").body.split())
    assert 0 < had <= LIMIT
    assert 4 < has <= 5
    # No shorter than it was.
    assert has - LIMIT - SLACK < unchanged + 0.5
    assert unchanged > 1


def test_a_deadline_that_an_application_kept_extends_no_later_request(shared):
    server = shared("late:app", *LATE, "--threads", "1")
    with server.connect() as wire:
        wire.send(request("GET", "/keep"))
        assert wire.response().body == b"kept"
        wire.send(request("GET", "/kept"))
        assert wire.response().body == b"[0.0] True"
        wire.send(request("GET", "/mistaken"))
        assert wire.response().body == b"4"


def test_without_the_setting_there_is_no_deadline(shared):
    server = shared("late:app", "--threads", "1")
    assert server.get("/has-deadline").body == b"False"


def test_a_unix_socket_gets_its_504(start, tmp_path):
    path = str(tmp_path / "socket")
    server = start("late:app", *LATE, bind=[f"unix:{path}"])
    server.address = path
    expect_504(server, "/spin")


def test_a_slow_request_leaves_a_record_of_where_it_stood(shared):
    server = shared("late:app", "--slow-request", "200ms", "--threads", "4")
    assert server.get("/dawdle").body == b"at last"
    record = server.wait_for_log(
        r"\[WARNING\] Slow request: GET /dawdle of 127\.0\.0\.1 took [\d.]+ s "
        r"\(setting: slow_request = 200ms\)\n(.*\n)*.*dawdle_a_second"
    )
    assert len(re.findall(r"^after 0\.\d+ s:$", record, re.MULTILINE)) >= 1
    assert record.count("in dawdle_a_second") == 1, "a stack that stays the same is written once"
    logged = len(server.errors)
    assert server.get("/pid").status == 200
    assert "Slow request" not in server.errors[logged:]
