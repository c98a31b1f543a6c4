"""W3C Trace Context: the server's span is between the proxy's and the application's."""

import json
import re

import pytest
from harness.requirements import require_module

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01"
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[0-3])")


def environ(served, *headers):
    return json.loads(served.server.get("/environ", *headers).body)


def parts(value):
    return TRACEPARENT.fullmatch(value).groups()


def test_a_trace_is_continued_with_the_span_of_the_server(site):
    served = site("protocol:app", {"trace": True})
    seen = environ(served, f"traceparent: {PARENT}", "tracestate: a=1", "tracestate: b=2")
    trace, span, flags = parts(seen["HTTP_TRACEPARENT"])
    assert (trace, flags) == (PARENT[3:35], "01")
    assert span != PARENT[36:52]
    assert seen["HTTP_TRACESTATE"] == "a=1,b=2"
    (line,) = served.lines(1)
    assert (line["trace_id"], line["span_id"]) == (trace, span)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [f"traceparent: {PARENT}", f"traceparent: {PARENT}"],
        [f"traceparent: ff{PARENT[2:]}"],
        [f"traceparent: {PARENT}-more"],
        [f"traceparent: {PARENT.upper()}"],
        [f"traceparent: 00-{'0' * 32}{PARENT[35:]}"],
        ["traceparent: nonsense"],
    ],
)
def test_a_malformed_traceparent_restarts_the_trace(site, headers):
    served = site("protocol:app", {"trace": True})
    seen = environ(served, *headers, "tracestate: a=1")
    trace, _, flags = parts(seen["HTTP_TRACEPARENT"])
    assert trace != PARENT[3:35] and flags == "03"
    assert "HTTP_TRACESTATE" not in seen


def test_a_trace_of_a_client_that_is_not_trusted_restarts(site):
    served = site("protocol:app", {"trace": True}, "--forwarded-allow-ips", "192.0.2.1")
    seen = environ(served, f"traceparent: {PARENT}", "tracestate: a=1")
    assert parts(seen["HTTP_TRACEPARENT"])[0] != PARENT[3:35]
    assert "HTTP_TRACESTATE" not in seen


def test_opentelemetry_continues_the_trace(site):
    require_module("opentelemetry.instrumentation.wsgi")
    served = site("traced:app", {"trace": True})
    span = json.loads(served.server.get("/", f"traceparent: {PARENT}").body)
    (line,) = served.lines(1)
    assert span == {"trace": PARENT[3:35], "parent": line["span_id"], "is_sampled": True}
    # A trace that begins here is recorded, too.
    span = json.loads(served.server.get("/").body)
    line = served.lines(2)[1]
    assert span == {"trace": line["trace_id"], "parent": line["span_id"], "is_sampled": True}
