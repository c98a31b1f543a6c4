"""The admin listener: what operators are told, also while nothing else answers, and `ctl`."""

import json
import os
import re
import signal

import pytest
from harness import Wire, eventually, free_port, request, run
from harness.process import is_alive


class Admin:
    """The admin listener of a server on a unix socket."""

    def __init__(self, start, directory, app, *arguments, wait=True, **options):
        self.path = directory / "admin.sock"
        self.address = f"unix:{self.path}"
        self.server = start(app, "--admin-bind", self.address, *arguments, wait=wait, **options)

    def ask(self, target, method="GET"):
        with Wire(str(self.path)) as wire:
            wire.send(request(method, target, "Connection: close"))
            response = wire.response(method)
            wire.expect_close()
        return response

    def status(self):
        response = self.ask("/status")
        assert response.status == 200
        return json.loads(response.body)

    def samples(self):
        """Every sample by its name and labels, in the text format 0.0.4."""
        response = self.ask("/metrics")
        assert response.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        return parse(response.body.decode())

    def ctl(self, *arguments):
        return run("ctl", "--admin", self.address, *arguments)

    def workers(self):
        return [worker["pid"] for worker in self.status()["workers"]]


SAMPLE = re.compile(r'([a-z_]+)((?:\{[a-z]+="[^"\\\n]*"\})?) ([0-9.]+)')


def parse(text):
    found, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("#"):
            word, name, rest = line[2:].split(" ", 2)
            assert word in ("HELP", "TYPE") and rest, line
            if word == "TYPE":
                assert name not in kinds, line
                kinds[name] = rest
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        name, labels, value = sample.groups()
        family = re.sub("_(bucket|sum|count)$", "", name)
        assert name in kinds or kinds[family] == "histogram", line
        assert name + labels not in found, line
        found[name + labels] = float(value)
    return found


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
    admin = Admin(start, tmp_path, "gates:app", "--threads", threads, workers=1)
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
    admin.server.wait_for_log(rf"answers operators \(pid {before}\) has ended")
    assert admin.ask("/healthz").status == 200
    (after,) = set(admin.server.workers()) - {worker}
    assert after != before
    os.kill(after, signal.SIGTERM)
    assert admin.ask("/healthz").status == 200, "what a process group is sent does not end it"
    admin.server.process.kill()
    eventually(lambda: not is_alive(after), what="it does not outlive the supervisor")


def test_nothing_but_reading_is_done_over_http(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app")
    assert admin.ask("/status", method="POST").status == 405
    assert admin.ask("/").status == 404
    assert admin.ask("/status", method="HEAD").status == 200


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


def test_ctl_acts_by_signals(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=1)
    assert "asked for 1 more worker" in admin.ctl("workers", "+1").stdout
    eventually(lambda: len(admin.workers()) == 2, what="two workers")
    assert admin.ctl("workers", "-1").returncode == 0
    eventually(lambda: len(admin.workers()) == 1, what="one worker")
    assert admin.ctl("reopen").returncode == 0
    assert "lockgate_responses_total" in admin.ctl("metrics").stdout
    assert f"pid {admin.server.pid}" in admin.ctl("shutdown").stdout
    assert admin.server.wait() == 0


def test_ctl_without_a_server_says_what_to_do(tmp_path):
    for arguments, part in [
        (["status"], "--admin-bind"),
        (["--admin", f"unix:{tmp_path}/none.sock", "status"], "does the server run"),
        (["--admin", f"127.0.0.1:{free_port()}", "shutdown"], "does the server run"),
        (["--admin", "nonsense", "status"], "is no address"),
    ]:
        said = run("ctl", *arguments)
        assert said.returncode == 1 and part in said.stderr, said
        assert "Traceback" not in said.stderr
    assert run("ctl", "--admin", "unix:/x", "workers", "2").returncode == 2


def test_ctl_tells_lockgate_from_other_servers(start):
    server = start("hello:app")
    said = run("ctl", "--admin", f"127.0.0.1:{server.port}", "status")
    assert said.returncode == 1 and "is not Lockgate's admin listener" in said.stderr


def test_top_shows_workers_and_what_they_run(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=2)
    gate = tmp_path / "gate"
    with admin.server.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        eventually((tmp_path / "gate.started").exists, what="the call")
        said = run("top", "--once", environment={"LOCKGATE_ADMIN_BIND": admin.address})
        gate.touch()
        assert wire.response().status == 200
    assert said.returncode == 0, said
    assert said.stdout.count("serving") == 2
    assert "GET /hold?" in said.stdout
