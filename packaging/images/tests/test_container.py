"""A container of each image, started as docs/docker.md says: read-only and without privileges."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from machine import cgroup
from machine.container import Options

from images import running

APPLICATION = Path(__file__).with_name("application.py")
URL = "http://127.0.0.1:8000"
MIB = 1 << 20


@pytest.fixture
def start(image, tmp_path):
    """Starts a healthy container with the application of these tests."""
    started = []

    def start(**options):
        own = Options(
            environment={},
            volumes={"/app/app.py": APPLICATION},
            tmpfs=["/tmp"],
            read_only=True,
            no_new_privileges=True,
            **options,
        )
        container = running.container(image, own, tmp_path / "log")
        container.__enter__()
        started.append(container)
        running.await_health(container, image.healthcheck)
        return container

    yield start
    for container in started:
        container.__exit__(None, None, None)


def get(container, path, *options):
    done = container.curl("--fail-with-body", *options, f"{URL}{path}")
    assert done.returncode == 0, f"{path}: {done.stdout}{done.stderr}\n{container.log()}"
    return done.stdout


def until(is_so, container, within=30):
    deadline = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < deadline, container.log()
        time.sleep(0.05)


def request_in_flight(container, path, message):
    """A client of `path`, once the application has begun to answer."""
    client = subprocess.Popen(
        ["nsenter", f"--net=/proc/{container.pid}/ns/net", "curl", "--silent", f"{URL}{path}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    until(lambda: message in container.log(), container)
    return client


def test_the_server_is_process_one_and_has_no_privileges(start, image):
    container = start()
    assert Path(f"/proc/{container.pid}/status").read_text().split("NSpid:")[1].split()[1] == "1"
    lines = dict(line.split(":", 1) for line in get(container, "/status").splitlines())
    own = image.user.partition(":")[0]
    assert lines["Uid"].split() == [own] * 4
    assert int(lines["CapEff"], 16) == int(lines["CapPrm"], 16) == 0
    assert lines["NoNewPrivs"].strip() == "1"
    assert "run as root" not in container.log()


def test_only_tmp_can_be_written_to(start):
    container = start()
    assert get(container, "/write") == "/tmp"


def test_a_large_body_is_spooled_to_tmp(start, tmp_path):
    container = start()
    body = tmp_path / "body"
    body.write_bytes(bytes(3 * MIB))
    assert get(container, "/length", "--data-binary", f"@{body}") == str(3 * MIB)


def test_both_logs_are_the_output_of_the_container(start):
    container = start()
    get(container, "/status")
    until(lambda: '"GET /status HTTP/1.1" 200' in container.log(), container)
    assert "workers are ready" in container.log()


def test_a_stop_ends_the_requests_in_flight_and_then_the_server(start, image):
    container = start()
    client = request_in_flight(container, "/slow", "the slow request has begun")
    began = time.monotonic()
    assert running.stop(container, image) == 0
    assert time.monotonic() - began < 10
    assert client.communicate(timeout=10)[0] == "whole"


def test_a_stop_is_over_before_docker_kills(start, image):
    container = start()
    client = request_in_flight(container, "/endless", "the endless request has begun")
    assert running.stop(container, image, grace=10) == 0
    client.communicate(timeout=10)


def test_orphans_are_reaped(start):
    container = start()
    for _ in range(3):
        assert get(container, "/orphan") == "left"
    until(lambda: "Z" not in container.processes().values(), container)


def test_a_worker_that_exceeds_the_memory_limit_is_replaced(start, image):
    with cgroup.memory_limit(256 * MIB) as limit:
        container = start(cgroup=limit)
        # 256 MiB: the limit is what `workers = "auto"` counts with, not the machine's memory.
        assert "memory 0.2 GiB allows" in container.log()
        before = set(container.processes())
        assert container.curl(f"{URL}/eat").returncode != 0
        until(lambda: "by the kernel's OOM killer" in container.log(), container)
        until(lambda: len(set(container.processes()) - before) > 0, container)
        running.await_health(container, image.healthcheck)
        assert get(container, "/status")
        assert running.stop(container, image) == 0
        container.__exit__(None, None, None)


def test_the_health_check_fails_without_a_server(image, tmp_path):
    sleeping = ["python", "-c", "import time; time.sleep(60)"]
    with running.container(image, Options(environment={}), tmp_path / "log", sleeping) as container:
        assert running.check(container, image.healthcheck).returncode != 0


def test_the_image_has_the_programs_that_its_page_says(start, image):
    found = get(start(), "/programs").split()
    if image.user.startswith("65532"):
        assert found == ["pip", "python3"]
    else:
        assert {"sh", "pip", "python3"} <= set(found)
