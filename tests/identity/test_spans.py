"""Spans of the server, sent to a collector."""

import json
import os
import re
import signal

import pytest
from harness import eventually
from harness.otlp import Collector, attributes
from harness.requirements import require_module

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01"
SERVER = 2
ERROR = 2


@pytest.fixture
def collector():
    require_module("opentelemetry.proto")
    started = Collector()
    yield started
    started.close()


def settings(collector, **more):
    return {"request_id": True, "otlp": collector.url, **more}


def test_a_span_has_what_the_access_log_has(site, collector):
    served = site("protocol:app", settings(collector))
    served.server.get("/environ?a=1", f"traceparent: {PARENT}", "tracestate: a=1", "User-Agent: me")
    (line,) = served.lines(1)
    (span,) = collector.spans(1)
    assert span.trace_id.hex() == line["trace_id"] == PARENT[3:35]
    assert span.span_id.hex() == line["span_id"]
    assert span.parent_span_id.hex() == PARENT[36:52]
    assert (span.name, span.kind, span.trace_state) == ("GET", SERVER, "a=1")
    assert span.flags == 0x301
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    found = attributes(span)
    duration = found.pop("lockgate.queue.duration")
    assert 0 <= duration < 60
    assert found == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/environ",
        "url.query": "a=1",
        "http.response.status_code": 200,
        "server.address": "lockgate.test",
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "user_agent.original": "me",
        "http.request.header.x-request-id": [line["request_id"]],
    }
    assert span.status.code == 0
    resource = collector.requests[0].resource_spans[0].resource
    service = {one.key: one.value.string_value for one in resource.attributes}
    assert service["service.name"]


def test_the_span_of_the_application_is_a_child(site, collector):
    require_module("opentelemetry.instrumentation.wsgi")
    served = site("traced:app", settings(collector))
    shown = json.loads(served.server.get("/").body)
    (span,) = collector.spans(1)
    assert shown["trace"] == span.trace_id.hex()
    assert shown["parent"] == span.span_id.hex()
    assert not span.parent_span_id


def test_an_error_of_the_server_is_one_of_the_span(site, collector):
    served = site("protocol:app", settings(collector))
    served.server.get("/nowhere")
    served.server.get("/environ")
    found = {}
    for span in collector.spans(2):
        seen = attributes(span)
        found[seen["http.response.status_code"]] = (span.status.code, seen.get("error.type"))
    assert found == {500: (ERROR, "500"), 200: (0, None)}


def test_a_part_of_the_traces_is_sampled(site, collector):
    served = site("protocol:app", settings(collector, otlp_sample="0%"))
    assert json.loads(served.server.get("/environ").body)["HTTP_TRACEPARENT"].endswith("-02")
    # What a trusted peer samples is.
    served.server.get("/environ", f"traceparent: {PARENT}")
    (span,) = collector.spans(1)
    assert span.trace_id.hex() == PARENT[3:35]


def test_spans_are_sent_once_more_when_the_collector_asks_for_it(site, collector):
    collector.answers += [(503, {"Retry-After": "0"})]
    served = site("hello:app", settings(collector))
    served.server.get("/")
    assert len(collector.spans(1)) == 1
    assert "cannot send spans" not in served.server.errors


def test_a_collector_that_is_gone_costs_one_warning_and_no_request(site, collector):
    collector.close()
    served = site("hello:app", settings(collector))
    assert served.server.get("/").status == 200
    served.server.wait_for_log("cannot send spans to http://127.0.0.1")
    for _ in range(50):
        assert served.server.get("/").status == 200
    again = Collector(collector.port)
    try:

        def is_sent():
            served.server.get("/")
            return re.search(r"spans are sent to \S+ again; \d+ were lost", served.server.errors)

        eventually(is_sent, within=30)
    finally:
        again.close()
    assert served.server.errors.count("cannot send spans") == 1


def test_an_exporter_that_dies_is_replaced(site, collector):
    served = site("hello:app", settings(collector))
    served.server.get("/")
    collector.spans(1)

    def exporter():
        for child in served.server.workers():
            with open(f"/proc/{child}/comm") as comm:
                if comm.read().strip().endswith("-otlp"):
                    return child
        return None

    first = eventually(exporter, what="the exporter")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: (pid := exporter()) and pid != first, within=20)

    def arrives():
        served.server.get("/")
        return len(collector.received()) > 1

    eventually(arrives, within=20, what="a span after the death of the exporter")
