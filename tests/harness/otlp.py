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
        self.requests = []
        self.problems = []
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
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        return Handler

    def take(self, path, content_type, body):
        try:
            assert (path, content_type) == ("/v1/traces", "application/json")
            self.requests.append(decoded(body))
        except Exception as error:  # the test that asks for spans fails with it
            self.problems.append(repr(error))


def decoded(body):
    """The message of a body of JSON. Unknown fields and values of a wrong type are errors."""
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return ParseDict(with_base64(json.loads(body)), ExportTraceServiceRequest())


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
