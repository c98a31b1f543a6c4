"""The admin listener: what it reports, also while no worker answers."""

import json
import os
import signal
import time

import pytest
from harness import Wire, eventually, free_port, request, reset, run
from harness.admin import Admin
from harness.process import is_alive


def test_metrics_of_two_workers_add_up(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=2)
    server = admin.server
    seen = {server.get("/").body for _ in range(40)}
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        assert wire.response().status == 400

    def counted():
        samples = admin.samples()
        whole = samples['lockgate_responses_total{class="2xx"}']
        return samples if whole == 40 else None

    samples = eventually(counted, what="40 responses are counted")
    assert samples['lockgate_responses_total{class="4xx"}'] == 1
    assert samples["lockgate_request_duration_seconds_count"] == 40, "400 reached no application"
    assert samples['lockgate_request_duration_seconds_bucket{le="+Inf"}'] == 40
    assert 0 < samples["lockgate_request_duration_seconds_sum"] < 40
    assert samples['lockgate_workers{state="serving"}'] == 2
    assert samples["lockgate_worker_starts_total"] == 2
    assert samples["lockgate_received_bytes_total"] > 40 * len("GET / HTTP/1.1\r\n\r\n")
    assert samples["lockgate_sent_bytes_total"] > 40 * len("HTTP/1.1 200 OK\r\n\r\n")
    assert {int(body) for body in seen} <= set(admin.workers())


def test_a_client_that_leaves_within_its_body_is_the_same_in_metrics_and_access_log(
    start, tmp_path
):
    log = tmp_path / "access.log"
    arguments = ["--access-logfile", str(log), "--access-logformat", "json"]
    admin = Admin(start, tmp_path, "gates:app", *arguments)
    half = request("POST", "/", "Content-Length: 10") + b"half"
    with admin.server.connect() as wire:
        wire.send(half)
        wire.finish_sending()
        assert wire.response().status == 400
    with admin.server.connect() as wire:
        wire.send(half)
        # Its head was read before the reset takes the rest along.
        eventually(lambda: admin.status()["received_bytes"] >= 2 * len(half), what="both are read")
        reset(wire)

    def logged():
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        return sorted((entry["status"], entry["outcome"]) for entry in entries)

    eventually(lambda: len(logged()) == 2, what="two lines")
    assert logged() == [(400, "refused"), (499, "client_gone")]
    status = admin.status()
    assert (status["responses"]["4xx"], status["lost"]["client_gone"]) == (1, 1)
    assert status["lost"]["aborted"] == 0


def test_a_client_that_leaves_within_a_streamed_body_has_gone(start, tmp_path):
    log = tmp_path / "access.log"
    arguments = ["--access-logfile", str(log), "--access-logformat", "json"]
    admin = Admin(start, tmp_path, "streaming:app", "--stream-request-body", "/", *arguments)
    for ending in (Wire.close, reset):
        with admin.server.connect() as wire:
            wire.send(request("POST", "/read?-1", "Content-Length: 10", "Expect: 100-continue"))
            assert wire.response().status == 100
            wire.send(b"half")
            ending(wire)

    def logged():
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        return [(entry["status"], entry["outcome"]) for entry in entries]

    eventually(lambda: len(logged()) == 2, what="two lines")
    assert logged() == [(499, "client_gone")] * 2
    lost = admin.status()["lost"]
    assert (lost["client_gone"], lost["aborted"]) == (2, 0)


@pytest.mark.parametrize("headers", [[], ["Connection: close"]], ids=["", "close"])
def test_the_bytes_of_a_streamed_body_are_counted(start, tmp_path, headers):
    admin = Admin(start, tmp_path, "streaming:app", "--stream-request-body", "/")
    body = bytes(300_000)
    for count in range(1, 21):
        with admin.server.connect() as wire:
            wire.send(request("POST", "/digest?1000", f"Content-Length: {len(body)}", *headers))
            wire.send(body)
            assert wire.response().status == 200
        least = count * len(body)
        # No other event wakes the worker.
        eventually(
            lambda least=least: admin.status()["received_bytes"] > least,
            # Timers of the worker wake it later.
            within=2,
            what=f"all of request {count} is counted",
        )


def test_the_format_is_what_prometheus_itself_reads(start, tmp_path):
    parser = pytest.importorskip("prometheus_client.parser")
    admin = Admin(start, tmp_path, "hello:app", workers=2)
    assert admin.server.get("/").status == 200
    eventually(lambda: admin.samples()["lockgate_request_duration_seconds_count"], what="counted")
    text = admin.ask("/metrics").body.decode()
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert families["lockgate_request_duration_seconds"].type == "histogram"
    assert families["lockgate_responses"].type == "counter"
    assert all(family.documentation for family in families.values())


def test_counters_do_not_fall_when_a_worker_dies(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=1)
    for _ in range(5):
        assert admin.server.get("/").status == 200
    whole = 'lockgate_responses_total{class="2xx"}'
    eventually(lambda: admin.samples()[whole] == 5, what="5 responses are counted")
    (before,) = admin.workers()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: admin.workers() not in ([], [before]), what="a new worker")
    assert admin.samples()[whole] == 5
    assert admin.server.get("/").status == 200
    eventually(lambda: admin.samples()[whole] == 6, what="the sixth is counted")
    assert admin.samples()["lockgate_worker_starts_total"] == 2


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_status_shows_what_runs_while_every_thread_is_stuck(start, tmp_path, threads):
    options = ("--threads", threads, "--admin-show", "targets")
    admin = Admin(start, tmp_path, "gates:app", *options, workers=1)
    gates = [tmp_path / f"gate{number}" for number in range(int(threads))]
    wires = [admin.server.connect() for _ in gates]
    try:
        for wire, gate in zip(wires, gates, strict=True):
            wire.send(request("GET", f"/hold?{gate}"))
            eventually((gate.parent / (gate.name + ".started")).exists, what="the call")
        (worker,) = admin.status()["workers"]
        assert worker["threads_busy"] == int(threads)
        assert worker["requests_waiting"] == 0
        running = {entry["target"]: entry for entry in worker["running"]}
        # 128 bytes of a target are shown.
        assert set(running) == {f"/hold?{gate}"[:128] for gate in gates}
        for entry in running.values():
            assert entry["method"] == "GET"
            assert entry["client"] == "127.0.0.1"
            assert 0 <= entry["age"] < 30
        said = admin.ctl("requests")
        assert said.returncode == 0 and "GET /hold?" in said.stdout, said
        assert admin.ask("/healthz").status == 200
        assert admin.ask("/readyz").status == 200
        assert admin.samples()["lockgate_longest_request_seconds"] > 0
    finally:
        for gate in gates:
            gate.touch()
        for wire in wires:
            assert wire.response().status == 200
            wire.close()
    eventually(lambda: admin.status()["workers"][0]["threads_busy"] == 0, what="nothing runs")
    assert admin.ctl("requests").stdout == "no request is running\n"


def test_readiness_comes_with_the_first_worker_and_goes_with_the_last(start, tmp_path):
    gate = tmp_path / "gate"
    admin = Admin(start, tmp_path, "gates:app", workers=1)
    assert admin.ask("/readyz").status == 200
    with admin.server.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        eventually((tmp_path / "gate.started").exists, what="the call")
        admin.server.signal(signal.SIGTERM)
        eventually(lambda: admin.ask("/readyz").status == 503, what="not ready")
        assert admin.ask("/healthz").status == 200
        gate.touch()
        assert wire.response().status == 200
    assert admin.server.wait() == 0
    assert not admin.path.exists()


def test_a_server_that_is_still_importing_is_healthy_and_not_ready(start, tmp_path):
    admin = Admin(start, tmp_path, "slow_import:app", workers=1, wait=False)
    eventually(admin.path.exists, what="the admin socket")
    assert admin.ask("/healthz").status == 200
    assert admin.ask("/readyz").status == 503
    assert admin.status()["workers"] == []


def test_the_admin_process_is_replaced_when_it_dies_and_ends_with_the_server(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=1)
    (worker,) = admin.workers()
    (before,) = set(admin.server.workers()) - {worker}
    os.kill(before, signal.SIGKILL)
    admin.server.wait_for_log(rf"the admin process \(pid {before}\) was killed by SIGKILL")
    assert admin.ask("/healthz").status == 200
    (after,) = set(admin.server.workers()) - {worker}
    assert after != before
    os.kill(after, signal.SIGTERM)
    assert admin.ask("/healthz").status == 200, "what a process group is sent does not end it"
    assert after in admin.server.workers()
    admin.server.process.kill()
    eventually(lambda: not is_alive(after), what="it does not outlive the supervisor")


def test_read_only_admin_paths_refuse_post(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app")
    assert admin.ask("/status", method="POST").status == 405
    page = admin.ask("/")
    assert page.status == 200 and page.body.startswith(b"<!doctype html>")
    assert admin.ask("/none").status == 404
    assert admin.ask("/status", method="HEAD").status == 200


def test_idle_connections_do_not_block_the_admin_listener(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app")
    wires = []
    try:
        for number in range(500):
            wires.append(Wire(str(admin.path)))
            wires[-1].send(
                (b"", b"GET /stat", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")[number % 3]
            )
        assert admin.ask("/healthz").status == 200
        # In a worker that has no place left, this is one that was never accepted.
        assert all(wire.response().status == 200 for wire in wires[2::3])
        assert "as many as" not in admin.server.errors
    finally:
        for wire in wires:
            wire.close()


def test_over_tcp_the_host_of_an_absolute_target_counts_and_not_the_header(start):
    port = free_port()
    start("hello:app", "--admin-bind", f"127.0.0.1:{port}", workers=1)
    for target, status in [("localhost", 200), (f"127.0.0.1:{port}", 200), ("rebound.test", 403)]:
        with Wire(("127.0.0.1", port)) as wire:
            head = f"GET http://{target}/healthz HTTP/1.1\r\nHost: localhost\r\n"
            wire.send(head.encode() + b"Connection: close\r\n\r\n")
            assert wire.response().status == status, target


def test_over_tcp_the_host_has_to_be_an_address(start):
    port = free_port()
    start("hello:app", "--admin-bind", f"127.0.0.1:{port}")
    for host, status in [(f"127.0.0.1:{port}", 200), ("localhost", 200), ("rebound.example", 403)]:
        with Wire(("127.0.0.1", port)) as wire:
            head = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            wire.send(head.encode())
            assert wire.response().status == status, host
    said = run("ctl", "--admin", f"127.0.0.1:{port}", "status")
    assert json.loads(said.stdout)["name"] == "lockgate"


@pytest.mark.parametrize("address", ["0.0.0.0:9000", ":9000", "[::]:9000", "10.1.2.3:9", "fd://3"])
def test_an_address_that_others_can_reach_is_refused(address):
    said = run("hello:app", "--admin-bind", address)
    assert said.returncode == 2
    assert "admin_bind" in said.stderr and "loopback" in said.stderr


def test_an_admin_address_that_is_taken_stops_the_start(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app")
    said = run("hello:app", "-b", f"127.0.0.1:{free_port()}", "--admin-bind", admin.address)
    assert said.returncode == 1
    assert "another process listens on" in said.stderr and "--admin-bind" in said.stderr


def test_the_status_is_also_available_in_the_format_of_uwsgi(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=2)
    for _ in range(10):
        assert admin.server.get("/brief").status == 200
    gate = tmp_path / "gate"

    def read():
        return json.loads(admin.ask("/uwsgi").body)

    with admin.server.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        eventually((tmp_path / "gate.started").exists, what="the call")
        found = eventually(
            lambda: sum(worker["requests"] for worker in read()["workers"]) == 10 and read(),
            what="10 responses are counted",
        )
        gate.touch()
        assert wire.response().status == 200
    assert found["pid"] == admin.server.pid and found["listen_queue"] == 0
    workers = found["workers"]
    assert [worker["id"] for worker in workers] == [1, 2]
    assert sorted(worker["pid"] for worker in workers) == sorted(admin.workers())
    assert sorted(worker["status"] for worker in workers) == ["busy", "idle"]
    assert all(worker["rss"] > 1 << 20 and worker["vsz"] > worker["rss"] for worker in workers)
    assert all(abs(worker["last_spawn"] - time.time()) < 600 for worker in workers)
    served = [worker for worker in workers if worker["requests"]]
    # Each took 20 ms, in microseconds.
    assert all(worker["avg_rt"] >= 20_000 for worker in served)
    assert all(worker["running_time"] >= worker["requests"] * 20_000 for worker in served)
    busy = [core["in_request"] for worker in workers for core in worker["cores"]]
    assert sum(busy) == 1
