"""Metrics of the server, sent to a collector that checks them by the schema of OpenTelemetry."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from harness import eventually
from harness.admin import Admin
from harness.otlp import Collector, attributes
from harness.process import process_stat
from harness.requirements import require_module

CUMULATIVE = 2


@pytest.fixture
def collector():
    require_module("opentelemetry.proto")
    started = Collector()
    yield started
    started.close()


def arguments(collector):
    return ["--otlp", collector.url, "--otlp-metrics", "--otlp-metrics-interval", "1"]


def test_the_collector_gets_what_prometheus_gets(start, tmp_path, collector):
    settings = tmp_path / "lockgate.toml"
    settings.write_text('cache = true\npush = true\nrate_limit = [{ rate = "1000/s" }]\n')
    config = ("--config", str(settings))
    admin = Admin(start, tmp_path, "hello:app", *config, *arguments(collector), workers=2)
    for _ in range(5):
        assert admin.server.get("/").status == 200
    eventually(lambda: collector.value("lockgate.responses", "2xx") == 5, within=20)
    translated = {}
    for metric in collector._all_metrics():
        unit = {"s": "_seconds", "By": "_bytes", "1": "_ratio"}.get(metric.unit, "")
        total = "_total" if metric.sum.is_monotonic else ""
        translated[metric.name.replace(".", "_") + unit + total] = metric
    samples = admin.samples()
    families = {name.partition("{")[0] for name in samples}
    for suffix in ("_bucket", "_sum", "_count"):
        families = {name.removesuffix(suffix) for name in families}
    assert families - set(translated) == set()
    # Values that do not change by themselves.
    for name, value in samples.items():
        family, _, labels = name.rstrip("}").partition("{")
        metric = translated.get(family)
        if metric is None or family.endswith("_seconds") or "worker=" in labels:
            continue
        texts = tuple(pair.partition("=")[2].strip('"') for pair in labels.split(",") if pair)
        found = collector.value(metric.name, *texts)
        assert found == value or family == "lockgate_busy_ratio", name
    durations = collector.points("http.server.request.duration")[()]
    assert durations.count == samples["lockgate_request_duration_seconds_count"] == 5
    below = 0
    for bound, count in zip(durations.explicit_bounds, durations.bucket_counts, strict=False):
        below += count
        key = f'lockgate_request_duration_seconds_bucket{{le="{bound!r}"}}'
        assert samples[key] == below, key
    assert durations.sum == pytest.approx(samples["lockgate_request_duration_seconds_sum"])


def test_metrics_are_cumulative_since_the_start_of_the_server(start, collector):
    before = time.time()
    server = start("hello:app", *arguments(collector), workers=2)
    server.get("/")
    eventually(lambda: collector.value("lockgate.responses", "2xx") == 1, within=20)
    after = time.time()
    responses = collector.metric("lockgate.responses").sum
    assert responses.aggregation_temporality == CUMULATIVE and responses.is_monotonic
    point = collector.points("lockgate.responses")[("2xx",)]
    assert before - 1 <= point.start_time_unix_nano / 1e9 <= after
    assert before <= point.time_unix_nano / 1e9 <= time.time()
    assert not collector.metric("http.server.active_requests").sum.is_monotonic
    resource = collector.metrics[0].resource_metrics[0].resource
    who = attributes(resource)
    assert who["service.name"] == "lockgate"
    assert who["service.instance.id"] == f"{os.uname().nodename}:{server.pid}"
    assert collector.value("process.memory.usage") > 10_000_000
    assert collector.value("process.cpu.time", "user") > 0


def test_counts_go_on_over_a_reload_and_the_death_of_workers_and_of_the_exporter(start, collector):
    server = start("hello:app", *arguments(collector), workers=2)
    for _ in range(3):
        server.get("/")
    eventually(lambda: collector.value("lockgate.responses", "2xx") == 3, within=20)
    begun = collector.points("lockgate.responses")[("2xx",)].start_time_unix_nano
    used = collector.value("process.cpu.time", "user")
    for name in ("-w0", "-otlp"):
        os.kill(named(server, name), signal.SIGKILL)
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload.*done|new workers serve", within=20)
    server.get("/")
    eventually(lambda: collector.value("lockgate.responses", "2xx") == 4, within=20)
    point = collector.points("lockgate.responses")[("2xx",)]
    assert point.start_time_unix_nano == begun
    eventually(lambda: collector.value("lockgate.worker_exits", "killed") == 1, within=20)
    eventually(lambda: collector.value("process.cpu.time", "user") >= used, within=20)


def test_the_last_counts_are_sent_when_the_server_stops(start, collector):
    server = start("hello:app", *arguments(collector)[:-1], "3600", workers=1)
    server.get("/")
    assert server.stop() == 0
    assert collector.value("lockgate.responses", "2xx") == 1
    assert collector.value("lockgate.workers", "serving") == 0
    # Spans are collected for five seconds.
    assert len(collector.received()) == 1


@pytest.mark.parametrize("answer", [503, 400])
def test_a_collector_that_refuses_costs_one_warning(start, collector, answer):
    collector.answers += [(answer, {"Retry-After": "0"})] * 3
    server = start("hello:app", *arguments(collector))
    server.wait_for_log(f"cannot send metrics to http://127.0.0.1:{collector.port}/v1/metrics: it")
    assert server.get("/").status == 200
    server.wait_for_log("metrics are sent to .* again, for the first time after", within=20)
    assert server.errors.count("cannot send metrics") == 1
    eventually(lambda: collector.value("lockgate.responses", "2xx") == 1, within=20)


def test_a_collector_that_never_answers_delays_no_request(start):
    # The kernel accepts connections, and no program reads them.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = start("hello:app", "--otlp", url, "--otlp-metrics", "--otlp-metrics-interval=1")
        for _ in range(20):
            began = time.monotonic()
            assert server.get("/").status == 200
            assert time.monotonic() - began < 5
        assert process_stat(named(server, "-otlp")) is not None
        assert server.stop(within=20) == 0


def named(server, ending):
    def find():
        for pid in server.workers():
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except (FileNotFoundError, ProcessLookupError):
                # It has ended meanwhile.
                continue
            if name.endswith(ending):
                return pid
        return None

    return eventually(find, what=f"a process whose name ends with {ending}")
