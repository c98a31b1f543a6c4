"""A collector of OTLP over HTTP, which checks each body against the schema of OpenTelemetry."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness.patience import eventually

IDS = ("traceId", "spanId", "parentSpanId")


class Collector:
    """Answers with the statuses in `answers`, and with 200 when there are none left."""

    def __init__(self, port=0):
        #: Requests with spans, with metrics, and with lines of logs.
        self.requests, self.metrics, self.logs = [], [], []
        self.problems = []
        #: Of each answer.
        self.body = b"{}"
        self.answers = []
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def spans(self, count):
        """The first spans, once there are as many."""
        found = eventually(
            lambda: (spans := self.received()) and len(spans) >= count and spans,
            within=20,
            what=f"{count} spans; {self.problems or self.received()}",
        )
        assert not self.problems, self.problems
        return found

    def received(self):
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def _handler(collector):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = collector.answers.pop(0) if collector.answers else (200, {})
                if status == 200:
                    collector.take(self.path, self.headers["Content-Type"], body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(collector.body)))
                self.end_headers()
                self.wfile.write(collector.body)

            def log_message(self, *_):
                pass

        return Handler

    def points(self, name):
        """The points of a metric in the last request, by the values of their attributes."""
        assert not self.problems, self.problems
        for metric in reversed(self._all_metrics()):
            if metric.name == name:
                kind = metric.WhichOneof("data")
                found = getattr(metric, kind).data_points
                return {tuple(attributes(point).values()): point for point in found}
        return {}

    def value(self, name, *attribute_values):
        """The number of one point, or None."""
        point = self.points(name).get(attribute_values)
        return point and getattr(point, point.WhichOneof("value"))

    def metric(self, name):
        """The last metric of this name."""
        return next(one for one in reversed(self._all_metrics()) if one.name == name)

    def lines(self):
        """All lines of logs, in the order in which they were sent."""
        assert not self.problems, self.problems
        return [
            line
            for request in list(self.logs)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for line in scope.log_records
        ]

    def line(self, part):
        """The first line that contains a text, once there is one."""

        def find():
            return next((one for one in self.lines() if part in one.body.string_value), None)

        bodies = [one.body.string_value for one in self.lines()]
        return eventually(find, within=20, what=f"a line with {part!r}; {bodies}")

    def _all_metrics(self):
        return [
            metric
            for request in list(self.metrics)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def take(self, path, content_type, body):
        try:
            assert content_type == "application/json"
            taken = {
                "/v1/traces": self.requests,
                "/v1/metrics": self.metrics,
                "/v1/logs": self.logs,
            }
            taken[path].append(decoded(path, body))
        except Exception as error:  # the test that asks for spans fails with it
            self.problems.append(repr(error))


def decoded(path, body):
    """The message of a body of JSON. Unknown fields and values of a wrong type are errors."""
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

    kinds = {
        "/v1/traces": traces.ExportTraceServiceRequest,
        "/v1/metrics": metrics.ExportMetricsServiceRequest,
        "/v1/logs": logs.ExportLogsServiceRequest,
    }
    return ParseDict(with_base64(json.loads(body)), kinds[path]())


def with_base64(value):
    """OTLP writes ids as hexadecimal digits, where the JSON of protobuf has base64."""
    if isinstance(value, list):
        return [with_base64(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(one)).decode() if key in IDS else with_base64(one)
        for key, one in value.items()
    }


def attributes(span):
    """By key, as plain values."""
    found = {}
    for attribute in span.attributes:
        kind = attribute.value.WhichOneof("value")
        value = getattr(attribute.value, kind)
        if kind == "array_value":
            value = [one.string_value for one in value.values]
        assert attribute.key not in found, attribute.key
        found[attribute.key] = value
    return found
