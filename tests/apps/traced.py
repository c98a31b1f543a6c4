"""An application that OpenTelemetry instruments: answers with the span in which it runs."""

import json

from opentelemetry import trace
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())


def show_span(environ, start_response):
    span = trace.get_current_span()
    shown = {
        "trace": f"{span.context.trace_id:032x}",
        "parent": f"{span.parent.span_id:016x}" if span.parent else None,
        "is_sampled": span.context.trace_flags.sampled,
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode()]


app = OpenTelemetryMiddleware(show_span)
