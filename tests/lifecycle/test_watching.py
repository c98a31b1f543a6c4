"""What monitoring sees of the processes: metrics, process titles, files of prometheus_client."""

import os
import signal
import threading
from pathlib import Path

import pytest
from harness import eventually, request
from harness.admin import Admin
from harness.process import children, resident_bytes
from harness.requirements import require_module


def comm(pid):
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


@pytest.mark.parametrize("name", [None, "shop"])
def test_each_process_says_what_it_is_for_in_its_short_name(start, tmp_path, name):
    named = ["--name", name] if name else []
    admin = Admin(start, tmp_path, "hello:app", "--preload", *named, workers=2)
    base = name or "lockgate"
    assert comm(admin.server.pid) == base

    def names():
        return sorted(comm(pid) for pid in children(admin.server.pid))

    expected = [f"{base}-admin", f"{base}-fork", f"{base}-w0", f"{base}-w1"]
    eventually(lambda: names() == expected, what=f"{expected}")


def test_where_setproctitle_is_installed_the_command_line_says_it_too(start, tmp_path):
    """A stand-in for the package, as it is optional: it notes what it is asked to show."""
    (tmp_path / "setproctitle.py").write_text(
        "import os\n"
        "def setproctitle(title):\n"
        f"    with open({str(tmp_path / 'titles')!r}, 'a') as file:\n"
        "        file.write(title + '\\n')\n"
    )
    Admin(
        start, tmp_path, "hello:app", workers=1, environment={"PYTHONPATH": str(tmp_path)}
    )  # fmt: skip
    titles = tmp_path / "titles"
    expected = {f"lockgate: {role} [hello:app]" for role in ("supervisor", "worker 0", "admin")}
    eventually(lambda: set(titles.read_text().splitlines()) == expected, what="three titles")


def test_worker_exits_are_counted_by_cause(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", "--timeout", "1s", workers=1)

    def exits():
        prefix = 'lockgate_worker_exits_total{cause="'
        samples = admin.samples().items()
        return {key[len(prefix) : -2]: count for key, count in samples if key.startswith(prefix)}

    assert set(exits().values()) == {0}

    def serving():
        workers = admin.status()["workers"]
        return [worker["pid"] for worker in workers if worker["state"] == "serving"]

    def end(cause, count, act):
        # One that is not ready yet is counted as a start that has failed.
        (before,) = eventually(serving, what="a worker")
        act(before)
        eventually(lambda: exits()[cause] == count, what=f"{cause} is counted")
        eventually(lambda: admin.workers() not in ([], [before]), what="another worker")

    end("killed", 1, lambda pid: os.kill(pid, signal.SIGKILL))
    end("signal", 1, lambda pid: os.kill(pid, signal.SIGSEGV))
    end("timeout", 1, lambda pid: os.kill(pid, signal.SIGSTOP))
    end("asked", 1, lambda pid: admin.server.signal(signal.SIGHUP))
    assert sum(exits().values()) == 4


def test_reloads_are_counted_by_their_result(start, tmp_path):
    (tmp_path / "site_app.py").write_text(
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'one']\n"
    )
    admin = Admin(start, tmp_path, "site_app:app", workers=1, chdir=tmp_path)
    assert admin.ctl("reload", "--wait").returncode == 0
    (tmp_path / "site_app.py").write_text("import no_such_module_at_all\n")
    for _ in range(2):
        assert admin.ctl("reload", "--wait").returncode == 1
    samples = admin.samples()
    assert samples['lockgate_reloads_total{result="done"}'] == 1
    assert samples['lockgate_reloads_total{result="failed"}'] == 2


def test_memory_busy_threads_and_queue_time_are_shown(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", "--threads", "2", workers=1)
    gates = [tmp_path / f"gate{number}" for number in range(2)]
    wires = [admin.server.connect() for _ in range(3)]
    for wire, gate in zip(wires, gates, strict=False):
        wire.send(request("GET", f"/hold?{gate}"))
        eventually((tmp_path / f"{gate.name}.started").exists, what="the call")
    samples = admin.samples()
    assert samples['lockgate_threads_limit{worker="0"}'] == 2
    assert samples["lockgate_busy_ratio"] == 1
    (worker,) = admin.workers()
    held = samples['lockgate_worker_memory_bytes{worker="0"}']
    assert 0.5 < held / resident_bytes(worker) < 2
    # The third waits for a thread: as long as this test likes.
    wires[2].send(request("GET", "/"))
    eventually(
        lambda: admin.samples()['lockgate_requests_waiting{worker="0"}'] == 1, what="it waits"
    )
    pause = threading.Event()
    pause.wait(0.3)
    for gate in gates:
        gate.touch()
    for wire in wires:
        assert wire.response().status == 200
        wire.close()

    def counted():
        samples = admin.samples()
        return samples if samples["lockgate_queue_duration_seconds_count"] == 3 else None

    samples = eventually(counted, what="three requests are counted")
    bucket = "lockgate_queue_duration_seconds_bucket"
    assert samples[bucket + '{le="0.25"}'] == 2, "the first two found a thread"
    assert samples[bucket + '{le="+Inf"}'] == 3
    assert samples["lockgate_queue_duration_seconds_sum"] > 0.25
    eventually(lambda: admin.samples()["lockgate_busy_ratio"] == 0, what="nothing runs")


@pytest.mark.parametrize("preload", [False, True])
def test_live_gauges_of_a_dead_worker_are_removed_with_its_replacement(start, tmp_path, preload):
    require_module("prometheus_client")
    directory = tmp_path / "prometheus"
    directory.mkdir()
    server = start(
        "live_metrics:app", *["--preload"] * preload, workers=1,
        environment={"PROMETHEUS_MULTIPROC_DIR": str(directory)},
    )  # fmt: skip
    for _ in range(3):
        pid = int(server.get("/pid").body)
        assert (directory / f"gauge_livesum_{pid}.db").exists()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: int(server.get("/pid").body) != pid, what="another worker")
        assert b"\nhere 1.0\n" in server.get("/").body
        assert not (directory / f"gauge_livesum_{pid}.db").exists()
