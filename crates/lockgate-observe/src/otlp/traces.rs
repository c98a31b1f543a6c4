//! Spans in the JSON encoding of OTLP 1 (`ExportTraceServiceRequest`), named by the semantic conventions of HTTP
//! server spans, version 1.26: ids are hexadecimal, and 64-bit numbers are texts.

use super::{Resource, export};
use crate::object::Json;
use crate::spans::{SpanRecord, SpanText};

/// Methods that the conventions know; others are `_OTHER`.
const METHODS: [&[u8]; 9] = [
    b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE",
];

/// SPAN_KIND_SERVER.
const SERVER: u64 = 2;
/// STATUS_CODE_ERROR.
const ERROR: u64 = 2;
/// The flags say whether the parent is remote, and it is.
const HAS_IS_REMOTE: u64 = 0x100;
const IS_REMOTE: u64 = 0x200;

/// Appends the text that tells a collector of these spans.
pub fn write_traces<'r>(
    out: &mut Vec<u8>,
    resource: Resource<'_>,
    spans: impl IntoIterator<Item = SpanRecord<&'r [u8]>>,
) {
    let keys = ["resourceSpans", "scopeSpans", "spans"];
    export(out, resource, keys, |json| {
        spans.into_iter().for_each(|span| json.span(&span));
    });
}

impl Json {
    fn span(&mut self, span: &SpanRecord<&[u8]>) {
        let method = span.text(SpanText::Method);
        let is_known = METHODS.contains(&method);
        self.separate();
        self.open('{');
        self.text("traceId", format!("{:032x}", span.trace_id).as_bytes());
        self.text("spanId", format!("{:016x}", span.span_id).as_bytes());
        let mut flags = u64::from(span.flags) | HAS_IS_REMOTE;
        if span.parent_id != 0 {
            flags |= IS_REMOTE;
            self.text(
                "parentSpanId",
                format!("{:016x}", span.parent_id).as_bytes(),
            );
        }
        if !span.text(SpanText::TraceState).is_empty() {
            self.text("traceState", span.text(SpanText::TraceState));
        }
        self.number("flags", flags);
        // Only the application has the route, and paths would make as many names as URLs.
        self.text("name", if is_known { method } else { b"HTTP" });
        self.number("kind", SERVER);
        let ended = span.began.saturating_add(span.duration);
        self.long("startTimeUnixNano", span.began);
        self.long("endTimeUnixNano", ended);
        self.key("attributes");
        self.open('[');
        self.attributes(span, is_known);
        self.close(']');
        self.key("status");
        self.open('{');
        if is_failure(span) {
            self.number("code", ERROR);
        }
        self.close('}');
        self.close('}');
    }

    fn attributes(&mut self, span: &SpanRecord<&[u8]>, is_known: bool) {
        let method = span.text(SpanText::Method);
        if is_known {
            self.attribute("http.request.method", method);
        } else {
            self.attribute("http.request.method", b"_OTHER");
            self.attribute("http.request.method_original", method);
        }
        self.attribute("url.scheme", if span.is_https { b"https" } else { b"http" });
        self.attribute("url.path", span.text(SpanText::Path));
        self.attribute("url.query", span.text(SpanText::Query));
        self.number_attribute("http.response.status_code", span.status.into());
        let (address, port) = split_port(span.text(SpanText::Host));
        self.attribute("server.address", address);
        if let Some(port) = port {
            self.number_attribute("server.port", port.into());
        }
        self.attribute("client.address", span.text(SpanText::Client));
        self.attribute(
            "network.protocol.version",
            version(span.text(SpanText::Protocol)),
        );
        self.attribute("user_agent.original", span.text(SpanText::UserAgent));
        self.list_attribute(
            "http.request.header.x-request-id",
            span.text(SpanText::RequestId),
        );
        self.seconds_attribute("lockgate.queue.duration", span.queued);
        if span.queued_before > 0 {
            self.seconds_attribute("lockgate.queue.before_arrival", span.queued_before);
        }
        if is_failure(span) {
            match span.text(SpanText::Failure) {
                b"" => self.attribute("error.type", span.status.to_string().as_bytes()),
                failure => self.attribute("error.type", failure),
            }
        }
    }
}

/// An error of the server: 5xx, or a response that was cut off for a reason other than the client.
fn is_failure(span: &SpanRecord<&[u8]>) -> bool {
    span.status >= 500 || matches!(span.text(SpanText::Failure), b"aborted" | b"expired")
}

/// `HTTP/1.1` is `1.1`, and `HTTP/2.0` is `2`.
fn version(protocol: &[u8]) -> &[u8] {
    let version = protocol.strip_prefix(b"HTTP/").unwrap_or(protocol);
    match version {
        b"2.0" => b"2",
        b"3.0" => b"3",
        version => version,
    }
}

/// A host and its port.
fn split_port(host: &[u8]) -> (&[u8], Option<u16>) {
    let colon = host.iter().rposition(|byte| *byte == b':');
    let Some(colon) = colon.filter(|colon| !host[*colon..].contains(&b']')) else {
        return (host, None);
    };
    let port = std::str::from_utf8(&host[colon + 1..])
        .ok()
        .and_then(|port| port.parse().ok());
    match port {
        Some(port) => (&host[..colon], Some(port)),
        None => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn span(texts: &[(SpanText, &'static [u8])]) -> SpanRecord<&'static [u8]> {
        let mut all: [&[u8]; SpanText::COUNT] = [b""; SpanText::COUNT];
        for (text, value) in texts {
            all[*text as usize] = value;
        }
        SpanRecord {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: 0xb7ad_6b71_6920_3331,
            parent_id: 0,
            flags: 1,
            began: 1_700_000_000_000_000_001,
            duration: 5_000_000,
            queued: 1_500_000,
            queued_before: 0,
            status: 200,
            is_https: false,
            lost_before: 0,
            texts: all,
        }
    }

    fn written(spans: Vec<SpanRecord<&[u8]>>) -> Value {
        let mut out = Vec::new();
        let resource = Resource {
            service: "shop",
            version: "1.2.3",
            host: "web1",
            instance: "web1:7",
        };
        write_traces(&mut out, resource, spans);
        assert!(out.is_ascii());
        serde_json::from_slice(&out).unwrap()
    }

    fn attributes(span: &Value) -> Vec<(String, Value)> {
        let list = span["attributes"].as_array().unwrap().iter();
        let pairs = list.map(|one| {
            let value = one["value"].as_object().unwrap().values().next().unwrap();
            (one["key"].as_str().unwrap().to_owned(), value.clone())
        });
        pairs.collect()
    }

    #[test]
    fn a_span_has_what_the_conventions_ask_for() {
        let text = written(vec![span(&[
            (SpanText::Method, b"GET"),
            (SpanText::Path, b"/caf%C3%A9"),
            (SpanText::Query, b"a=\"1\""),
            (SpanText::Host, b"shop.example:8443"),
            (SpanText::Client, b"203.0.113.9"),
            (SpanText::Protocol, b"HTTP/2.0"),
            (SpanText::UserAgent, b"Mozilla\xff"),
            (SpanText::RequestId, b"abc"),
        ])]);
        let resource = &text["resourceSpans"][0]["resource"]["attributes"][0];
        assert_eq!(
            resource,
            &json!({"key": "service.name", "value": {"stringValue": "shop"}})
        );
        let scope = &text["resourceSpans"][0]["scopeSpans"][0];
        assert_eq!(scope["scope"]["name"], "lockgate");
        let span = &scope["spans"][0];
        assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span["spanId"], "b7ad6b7169203331");
        assert_eq!(span.get("parentSpanId"), None);
        assert_eq!((&span["name"], &span["kind"]), (&json!("GET"), &json!(2)));
        assert_eq!(span["flags"], 0x101);
        assert_eq!(span["startTimeUnixNano"], "1700000000000000001");
        assert_eq!(span["endTimeUnixNano"], "1700000000005000001");
        assert_eq!(span["status"], json!({}));
        let found = attributes(span);
        let expected = [
            ("http.request.method", json!("GET")),
            ("url.scheme", json!("http")),
            ("url.path", json!("/caf%C3%A9")),
            ("url.query", json!("a=\"1\"")),
            ("http.response.status_code", json!("200")),
            ("server.address", json!("shop.example")),
            ("server.port", json!("8443")),
            ("client.address", json!("203.0.113.9")),
            ("network.protocol.version", json!("2")),
        ];
        for (index, (key, value)) in expected.into_iter().enumerate() {
            assert_eq!(found[index], (key.to_owned(), value));
        }
        let find = |key: &str| {
            found
                .iter()
                .find(|(other, _)| other == key)
                .map(|(_, value)| value)
        };
        let id = json!({"values": [{"stringValue": "abc"}]});
        assert_eq!(find("http.request.header.x-request-id"), Some(&id));
        assert_eq!(find("lockgate.queue.duration"), Some(&json!(0.0015)));
        assert_eq!(find("error.type"), None);
    }

    /// Status, failure; whether the span is an error, and of which type.
    #[test]
    fn errors_of_the_server_are_errors_of_the_span() {
        let cases: [(u16, &'static [u8], Option<&str>); 7] = [
            (200, b"", None),
            (404, b"", None),
            (499, b"client_gone", None),
            (500, b"", Some("500")),
            (504, b"expired", Some("expired")),
            (200, b"aborted", Some("aborted")),
            (200, b"client_gone", None),
        ];
        for (status, failure, expected) in cases {
            let span = SpanRecord {
                status,
                parent_id: 7,
                ..span(&[(SpanText::Method, b"BREW"), (SpanText::Failure, failure)])
            };
            let text = written(vec![span.clone(), span]);
            let spans = &text["resourceSpans"][0]["scopeSpans"][0]["spans"];
            assert_eq!(spans.as_array().unwrap().len(), 2);
            let span = &spans[1];
            assert_eq!(span["name"], "HTTP");
            assert_eq!(
                (&span["parentSpanId"], &span["flags"]),
                (&json!("0000000000000007"), &json!(0x301))
            );
            let status = expected.map_or(json!({}), |_| json!({"code": 2}));
            assert_eq!(span["status"], status);
            let attributes = attributes(span);
            assert_eq!(attributes[0].1, "_OTHER");
            assert_eq!(
                attributes[1],
                ("http.request.method_original".to_owned(), json!("BREW"))
            );
            let kind = attributes.iter().find(|(key, _)| key == "error.type");
            assert_eq!(kind.map(|(_, value)| value.as_str().unwrap()), expected);
        }
    }

    #[test]
    fn a_host_is_split_at_its_port() {
        for (host, address, port) in [
            ("a", "a", None),
            ("a:80", "a", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:8000", "[::1]", Some(8000)),
            ("a:x", "a:x", None),
            ("a:99999", "a:99999", None),
            ("", "", None),
        ] {
            let found = split_port(host.as_bytes());
            assert_eq!(found, (address.as_bytes(), port), "{host}");
        }
    }
}
