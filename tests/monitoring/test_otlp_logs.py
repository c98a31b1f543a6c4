"""Lines of the error log, sent to a collector that checks them by the schema of OpenTelemetry."""

import json
import os
import re
import signal
import time

import pytest
from harness import eventually
from harness.otlp import Collector, attributes
from harness.requirements import require_module

INFO, ERROR = 9, 17


@pytest.fixture
def collector():
    require_module("opentelemetry.proto")
    started = Collector()
    yield started
    started.close()


def arguments(collector, interval="200ms"):
    return ["--otlp", collector.url, "--otlp-logs", "--otlp-interval", interval]


def test_the_collector_gets_the_lines_of_the_error_log(start, collector):
    before = time.time_ns()
    server = start("protocol:app", *arguments(collector), workers=2)
    first = collector.line("is starting")
    assert attributes(first) == {"process.pid": server.pid}
    assert (first.severity_number, first.severity_text) == (INFO, "INFO")
    assert before < first.time_unix_nano < time.time_ns()
    assert server.get("/nowhere").status == 500
    failure = collector.line("KeyError")
    assert "Traceback" in failure.body.string_value
    assert failure.severity_number == ERROR
    found = attributes(failure)
    worker = eventually(lambda: re.search(r"worker 0 \(pid (\d+)\) ready", server.errors))
    is_first = found["process.pid"] == int(worker[1])
    assert found["lockgate.worker"] == (0 if is_first else 1)
    # The line leads to the span of its request.
    (span,) = collector.spans(1)
    assert (failure.trace_id, failure.span_id) == (span.trace_id, span.span_id)
    assert not first.trace_id
    assert server.stop() == 0
    collector.line("stopped after")
    # Each line of the log was sent, and once.
    events = re.findall(r"^\[[^\]]+\] \[\d+\] \[INFO\] (.*)$", server.errors, re.MULTILINE)
    sent = [one.body.string_value for one in collector.lines() if one.severity_number == INFO]
    assert sorted(events) == sorted(sent)


def test_lines_of_the_application_have_their_logger(start, collector, tmp_path):
    (tmp_path / "noisy.py").write_text(
        "def app(environ, start_response):\n"
        "    environ['wsgi.errors'].write('low stock:\\n  no tea\\n')\n"
        "    print('no milk', file=environ['wsgi.errors'])\n"
        "    start_response('200 OK', [('Content-Length', '0')])\n"
        "    return []\n"
    )
    server = start("noisy:app", *arguments(collector), chdir=tmp_path)
    assert server.get("/").status == 200
    # A logger writes a message and its traceback at once.
    for text in ("low stock:\n  no tea", "no milk"):
        line = collector.line(text)
        assert line.body.string_value == text
        assert attributes(line)["lockgate.logger"] == "wsgi.errors"
        assert line.trace_id


def test_the_log_is_written_as_before_while_the_collector_is_gone(start, collector):
    collector.close()
    server = start("protocol:app", *arguments(collector))
    server.wait_for_log("cannot send log lines to http://127.0.0.1")
    assert server.get("/nowhere").status == 500
    server.wait_for_log("KeyError")
    again = Collector(collector.port)
    try:
        # The next batch is that of the next line.
        def is_sent():
            server.get("/nowhere")
            return re.search(r"log lines are sent to \S+ again; \d+ were lost", server.errors)

        eventually(is_sent, within=30)
        assert server.errors.count("cannot send log lines") == 1
    finally:
        again.close()


def test_what_a_reload_turns_on_in_vain_is_reported(start, collector, tmp_path):
    settings = tmp_path / "lockgate.toml"
    settings.write_text("")
    server = start("hello:app", "--config", str(settings))
    settings.write_text(
        f'otlp = "{collector.url}"\notlp_interval = "100ms"\notlp_logs = true\n'
        'otlp_metrics = true\notlp_metrics_interval = "1s"\n'
    )
    server.signal(signal.SIGHUP)
    # Until the former worker has stopped, it may answer the next request, which nothing records.
    done = "(?s)reload: done in.*stopped after"
    server.wait_for_log(done, within=20)
    assert server.errors.count("] otlp, otlp_logs: turned on by a reload") == 1
    assert server.get("/").status == 200
    eventually(lambda: collector.value("lockgate.responses", "2xx") == 1, within=20)
    # As the message advises.
    before = len(server.errors)
    server.signal(signal.SIGUSR2)
    server.wait_for_log(done, within=20, since=before)
    assert server.get("/").status == 200
    assert len(collector.spans(1)) == 1
    collector.line("ready")
    assert server.errors.count("turned on by a reload") == 1


def test_lines_that_the_collector_refuses_are_counted(start, collector):
    refusal = {"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "no\nthanks"}}
    collector.body = json.dumps(refusal).encode()
    server = start("hello:app", *arguments(collector))
    server.wait_for_log(
        r"/v1/logs has refused 2 log lines of requests that it has taken \(no thanks\);"
    )


@pytest.mark.slow
def test_more_lines_than_the_collector_takes_are_counted_and_need_no_memory(
    start, collector, tmp_path
):
    (tmp_path / "flood.py").write_text(
        "def app(environ, start_response):\n"
        "    for number in range(30_000):\n"
        "        environ['wsgi.errors'].write(f'{number} {\"x\" * 150}\\n')\n"
        "    start_response('200 OK', [('Content-Length', '0')])\n"
        "    return []\n"
    )
    # The exporter waits meanwhile.
    collector.answers += [(503, {"Retry-After": "4"})]
    server = start("flood:app", *arguments(collector), chdir=tmp_path)
    eventually(lambda: not collector.answers, what="the first request of the exporter")
    assert server.get("/").status == 200
    found = server.wait_for_log(r"\d+ log lines were lost before they could be sent", within=30)
    assert int(found.split()[0]) > 10_000
    for pid in server.workers():
        with open(f"/proc/{pid}/comm") as comm, open(f"/proc/{pid}/status") as status:
            if comm.read().strip().endswith("-otlp"):
                [peak] = re.findall(r"VmHWM:\s+(\d+) kB", status.read())
                assert int(peak) < 100_000


@pytest.mark.slow
def test_an_upgrade_loses_no_span_and_no_line(start, collector):
    # Nothing is due before the upgrade.
    server = start("hello:app", *arguments(collector, "60s"), workers=2)
    for number in range(20):
        assert server.get(f"/before/{number}").status == 200
    server.signal(signal.SIGUSR2)
    server.wait_for_log("reload: done in", within=20)
    for number in range(20):
        assert server.get(f"/after/{number}").status == 200
    assert collector.received() == [] and collector.lines() == []
    assert server.stop() == 0
    paths = sorted(attributes(span)["url.path"] for span in collector.spans(40))
    assert paths == sorted(f"/{when}/{n}" for when in ("before", "after") for n in range(20))
    collector.line("upgrade: replacing the program")
    assert attributes(collector.line("is starting"))["process.pid"] == server.pid
    resources = [request.resource_spans[0].resource for request in collector.requests]
    instance = f"{os.uname().nodename}:{server.pid}"
    assert {attributes(one)["service.instance.id"] for one in resources} == {instance}
