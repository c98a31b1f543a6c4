"""`lockgate doctor` asks running servers."""

import http.server
import json
import os
import subprocess
import threading

import pytest
from harness import eventually, run
from harness.admin import Admin
from lockgate import doctor as doctor_module


@pytest.fixture
def admin(start, tmp_path):
    return Admin(start, tmp_path, "gates:app", "--threads", "2")


def doctor(admin, *arguments):
    return run("doctor", "--admin", admin.address, "--interval", "0.2", *arguments, within=60)


def test_a_server_that_is_well(admin):
    assert admin.server.get("/").status == 200
    done = doctor(admin, "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    first, figures, *rest = done.stdout.splitlines()
    assert first.startswith("lockgate ") and f"pid {admin.server.pid}" in first
    assert figures.startswith("1 worker, ") and "0 of 2 threads busy" in figures
    assert rest == ["", "nothing is wrong"]
    report = json.loads(doctor(admin, "--json").stdout)
    assert (report["critical"], report["warnings"], report["symptoms"]) == (0, 0, [])
    assert report["pid"] == admin.server.pid
    line = doctor(admin, "--nagios")
    assert line.returncode == 0 and line.stdout.startswith("LOCKGATE OK: 1 worker, ")


def is_saturated(admin):
    return any(
        worker["threads_busy"] == 2 and worker["requests_waiting"]
        for worker in admin.status()["workers"]
    )


def test_saturated_threads_are_critical(admin, tmp_path):
    gates = [tmp_path / "one", tmp_path / "two"]
    targets = [*(f"/hold?{gate}" for gate in gates), "/"]
    asked = [threading.Thread(target=admin.server.get, args=(target,)) for target in targets]
    try:
        for thread in asked[:2]:
            thread.start()
        for gate in gates:
            started = gate.with_name(f"{gate.name}.started")
            eventually(started.exists, what="a call holds its thread")
        asked[2].start()
        eventually(lambda: is_saturated(admin), what="a request waits for a thread")
        done = doctor(admin)
        assert done.returncode == 1, done.stdout
        assert "critical: all 2 threads of worker 0 are in calls, and" in done.stdout
        assert "threads-saturated: lockgate top shows what the calls do" in done.stdout
        [symptom] = json.loads(doctor(admin, "--json").stdout)["symptoms"]
        assert (symptom["id"], symptom["level"]) == ("threads-saturated", "critical")
        line = doctor(admin, "--nagios")
        assert line.returncode == 2
        assert line.stdout.startswith("LOCKGATE CRITICAL: all 2 threads") and "\n" not in (
            line.stdout.rstrip("\n")
        )
    finally:
        for gate in gates:
            gate.touch()
        for thread in asked:
            if thread.ident is not None:
                thread.join(30)


def test_a_warning_is_an_exit_code_only_if_asked_for(admin):
    admin.ctl("maintenance", "on")
    eventually(lambda: admin.status()["maintenance"] == "on", what="maintenance is on")
    done = doctor(admin)
    assert done.returncode == 0 and "warning: maintenance is on" in done.stdout
    assert doctor(admin, "--strict").returncode == 1
    assert doctor(admin, "--nagios").returncode == 1


def test_no_answer_is_a_failure(tmp_path):
    address = f"unix:{tmp_path}/nothing.sock"
    done = run("doctor", "--admin", address)
    assert done.returncode == 1 and done.stdout == ""
    assert f"no answer at {address}" in done.stderr
    done = run("doctor", "--admin", address, "--nagios")
    assert done.returncode == 2 and done.stdout.startswith("LOCKGATE CRITICAL: no answer at")
    assert run("doctor", "--interval", "0").returncode == 2
    # 2 would be a critical state there.
    assert run("doctor", "--nagios", "--interval", "0").returncode == 3


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"" if self.path == "/metrics" else self.server.status
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *message):
        pass


@pytest.fixture
def answering():
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("status", [b"<html>", b"[]", b'{"name": "lockgate"}', b"\xff"])
def test_an_answer_that_cannot_be_used_is_unknown(answering, status):
    answering.status = status
    address = f"127.0.0.1:{answering.server_port}"
    done = run("doctor", "--admin", address, "--interval", "0.1", "--nagios")
    assert done.returncode == 3 and done.stdout.startswith("LOCKGATE UNKNOWN: ")


def test_processes_of_this_host_that_are_not_the_server_are_left_out():
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            assert not doctor_module.is_here(other.pid)
        finally:
            other.kill()
    assert doctor_module.is_here(os.getpid())
