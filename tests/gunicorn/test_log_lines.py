"""`log_style = "gunicorn"`: the lines that alerts match, as gunicorn 27 writes them."""

import os
import re
import signal
from datetime import datetime, timedelta

import pytest
from harness import eventually, request
from harness.process import is_alive

STYLE = ["--log-style", "gunicorn"]
EVENT = r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})\] \[(\d+)\] \[([A-Z]+)\] (.*)"


def events(server):
    """(process, level, first line) of each event."""
    found = re.findall(rf"(?m)^{EVENT}$", server.errors)
    return [(int(pid), level, text) for _, pid, level, text in found]


def test_a_start_and_a_stop_have_gunicorns_lines_once(start):
    server = start("hello:app", *STYLE, "--workers", "2", "--threads", "4")
    workers = server.workers()
    assert server.get("/").status == 200
    assert server.stop() == 0
    said = events(server)
    master = server.pid
    for expected in [
        (master, "INFO", f"Listening at: http://127.0.0.1:{server.port} ({master})"),
        (master, "INFO", "Using worker: gthread"),
        *((pid, "INFO", f"Booting worker with pid: {pid}") for pid in workers),
        (master, "INFO", "Handling signal: term"),
        *((pid, "INFO", f"Worker exiting (pid: {pid})") for pid in workers),
        (master, "INFO", "Shutting down: Master"),
    ]:
        assert said.count(expected) == 1, (expected, said)
    first = said[0]
    assert first[:2] == (master, "INFO")
    assert re.fullmatch(r"Starting gunicorn \(Lockgate [\w.]+\)", first[2]), first
    texts = [text for _, _, text in said]
    for replaced in ["is starting", "listening at", "stopped$"]:
        assert not any(re.search(replaced, text) for text in texts), (replaced, texts)


def test_one_thread_is_called_a_sync_worker(start):
    server = start("hello:app", *STYLE, "--threads", "1")
    server.wait_for_log(r"\[INFO\] Using worker: sync\n")


def test_the_time_is_local_unless_chosen(start):
    for arguments, offset in [([], 5.75), (["--log-timezone", "utc"], 0)]:
        server = start("hello:app", *STYLE, *arguments, environment={"TZ": "<+0545>-5:45"})
        time = datetime.strptime(re.search(EVENT, server.errors)[1], "%Y-%m-%d %H:%M:%S %z")
        assert time.utcoffset() == timedelta(hours=offset)


def test_a_host_without_a_time_zone_logs_utc(start):
    server = start("hello:app", *STYLE, environment={"TZ": "Mars/Olympus"})
    assert re.search(EVENT, server.errors)[1].endswith(" +0000")


def test_json_has_gunicorns_messages_too(start):
    server = start("hello:app", *STYLE, "--error-logformat", "json", wait=False)
    server.wait_for_log(r'"message": ?"Using worker: gthread"')


def test_a_killed_worker_may_have_been_out_of_memory(start):
    server = start("hello:app", *STYLE)
    [worker] = server.workers()
    os.kill(worker, signal.SIGKILL)
    line = f"Worker (pid:{worker}) was sent SIGKILL! Perhaps out of memory?"
    eventually(lambda: (server.pid, "ERROR", line) in events(server), what=line)
    below = server.errors.split(line + "\n")[1].splitlines()[0]
    assert below.startswith(f"  worker 0 (pid {worker}) was killed by SIGKILL after "), below


def test_a_worker_that_exits_by_itself_has_its_code(start):
    server = start("faults:app", *STYLE)
    [worker] = server.workers()
    with server.connect() as wire:
        wire.send(request("GET", "/exit"))
        line = rf"\[ERROR\] Worker \(pid:{worker}\) exited with code 7\.\n"
        server.wait_for_log(line)


@pytest.mark.slow
def test_a_timeout_is_critical_and_no_lack_of_memory(start, tmp_path):
    server = start("gates:app", *STYLE, "--threads", "1", "--timeout", "2")
    [worker] = server.workers()
    with server.connect() as wire:
        wire.send(request("GET", f"/hold?{tmp_path / 'never'}"))
        server.wait_for_log(rf"\[CRITICAL\] WORKER TIMEOUT \(pid:{worker}\)\n")
        eventually(lambda: not is_alive(worker), what="the worker has gone")
    eventually(lambda: server.get("/").status, what="its replacement")
    assert "Perhaps out of memory" not in server.errors


def test_a_reload_is_a_hang_up(start):
    server = start("hello:app", *STYLE)
    [old] = server.workers()
    server.signal(signal.SIGHUP)
    server.wait_for_log(rf"\[INFO\] Worker exiting \(pid: {old}\)\n")
    texts = [text for _, _, text in events(server)]
    assert texts.count("Handling signal: hup") == 1
    assert texts.count("Hang up: Master") == 1
    assert sum(text.startswith("Booting worker with pid: ") for text in texts) == 2


def test_max_requests_restarts_a_worker(start):
    server = start("hello:app", *STYLE, "--max-requests", "3")
    for _ in range(4):
        server.get("/")
    server.wait_for_log(r"\[INFO\] Autorestarting worker after current request\.\n")


def test_an_exception_and_an_invalid_request_are_gunicorns(start):
    server = start("faults:app", *STYLE)
    assert server.get("/raise-before").status == 500
    server.wait_for_log(r"\[ERROR\] Error handling request GET /raise-before\nTraceback ")
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
        assert wire.response().status == 400
    server.wait_for_log(r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: \S")


def test_an_application_that_cannot_be_imported_fails_to_boot(start):
    server = start("broken_import:app", *STYLE, wait=False)
    assert server.wait() == 3
    said = events(server)
    texts = [text for _, _, text in said]
    assert texts.count("Exception in worker process") == 1
    assert (
        sum(bool(re.fullmatch(r"Worker \(pid:\d+\) exited with code 3\.", t)) for t in texts) == 1
    )
    assert said[-2:] == [
        (server.pid, "ERROR", "Shutting down: Master"),
        (server.pid, "ERROR", "Reason: Worker failed to boot."),
    ]


def test_an_application_that_does_not_exist_fails_to_load(start):
    server = start("hello:no_such_name", *STYLE, wait=False)
    assert server.wait() == 4
    assert events(server)[-1] == (server.pid, "ERROR", "Reason: App failed to load.")


def test_lockgates_style_has_none_of_them(start):
    server = start("hello:app")
    assert server.stop() == 0
    assert "Booting worker" not in server.errors and "Handling signal" not in server.errors
    assert all("+0000" in line for line in server.errors.splitlines() if line.startswith("["))


def test_a_gunicorn_conf_brings_gunicorns_lines(start, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("workers = 1\n")
    server = start("hello:app", "-c", str(tmp_path / "gunicorn.conf.py"))
    server.wait_for_log(r"\[INFO\] Booting worker with pid: \d+\n")
    other = start("hello:app", "-c", str(tmp_path / "gunicorn.conf.py"), "--log-style", "lockgate")
    assert "Booting worker" not in other.errors
