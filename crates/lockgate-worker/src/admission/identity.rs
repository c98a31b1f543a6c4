//! The identity of a request: its id, and its place in a trace, which the application, the response and the logs have.

use std::sync::Arc;
use std::time::Instant;

use lockgate_config::IdentityConfig;
use lockgate_http::trace_context::{RANDOM, SAMPLED, TraceParent, is_valid_tracestate};

use super::Stage;
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;
use crate::exchange::request_id::{IdGenerator, RequestId};
use crate::exchange::trace::Trace;

const REQUEST_ID: &[u8] = b"X-Request-Id";
const TRACEPARENT: &[u8] = b"traceparent";
const TRACESTATE: &[u8] = b"tracestate";

/// Hundredths of a per cent.
const ALL: u32 = 10_000;

/// The first stage: the others and their answers are about a request that has its identity.
pub struct Identify {
    has_ids: bool,
    has_traces: bool,
    /// How many of the traces that begin here are sampled, in hundredths of a per cent.
    sample: u32,
    ids: Arc<IdGenerator>,
}

impl Identify {
    pub fn new(config: &IdentityConfig, ids: &Arc<IdGenerator>) -> Self {
        Self {
            has_ids: config.request_id,
            has_traces: config.traces(),
            // Without spans of its own the server leaves the decision to the application: one that follows its parent
            // would otherwise record nothing.
            sample: config.otlp.as_ref().map_or(ALL, |otlp| otlp.sample),
            ids: Arc::clone(ids),
        }
    }
}

impl Stage for Identify {
    fn examine(&self, request: &mut Request, _now: Instant) -> Option<Answer> {
        if self.has_ids {
            self.set_request_id(request);
        }
        if self.has_traces {
            self.set_trace(request);
        }
        None
    }
}

impl Identify {
    /// Keeps the id of a trusted peer, or replaces what came by a new one.
    fn set_request_id(&self, request: &mut Request) {
        let is_trusted = request.admitted.is_peer_trusted;
        let taken = is_trusted.then(|| taken_id(request)).flatten();
        let id = taken.unwrap_or_else(|| {
            let id = self.ids.make();
            request.head.set_field(REQUEST_ID, id.as_bytes());
            id
        });
        request.admitted.request_id = Some(id);
    }

    /// Continues the trace of a trusted peer, or begins one. The server's span becomes the parent of the application's.
    fn set_trace(&self, request: &mut Request) {
        let found = TraceFields::of(request);
        let is_trusted = request.admitted.is_peer_trusted;
        let parent = found.parent.filter(|_| is_trusted);
        let span_id = self.ids.next_u64().max(1);
        let own = match parent {
            Some(parent) => TraceParent { span_id, ..parent },
            None => {
                let trace_id = self.ids.next_u128();
                TraceParent {
                    trace_id,
                    span_id,
                    flags: RANDOM | if self.samples(trace_id) { SAMPLED } else { 0 },
                }
            }
        };
        request.head.set_field(TRACEPARENT, &own.encode());
        if found.states > 0 {
            set_tracestate(request, found.states, parent.is_some());
        }
        request.admitted.trace = Some(Trace {
            own,
            parent_id: parent.map(|parent| parent.span_id),
        });
    }

    /// Decides by the random part of the id, as all servers that sample by it do: a trace is sampled as a whole.
    fn samples(&self, trace_id: u128) -> bool {
        const VALUES: u64 = 1 << 56;
        let random = (trace_id as u64) % VALUES;
        let rejected = VALUES / u64::from(ALL) * u64::from(ALL.saturating_sub(self.sample));
        random >= rejected
    }
}

/// The only field, if its value is an id.
fn taken_id(request: &Request) -> Option<RequestId> {
    let mut fields = (request.head.headers()).filter(|(name, _)| is(name, REQUEST_ID));
    let (_, value) = fields.next()?;
    if fields.next().is_some() {
        return None;
    }
    RequestId::parse(value)
}

fn is(name: &[u8], expected: &[u8]) -> bool {
    name.len() == expected.len() && name.eq_ignore_ascii_case(expected)
}

/// What a request has of a trace.
struct TraceFields {
    /// The only `traceparent`, if it is well-formed.
    parent: Option<TraceParent>,
    /// Number of fields `tracestate`.
    states: usize,
}

impl TraceFields {
    fn of(request: &Request) -> Self {
        let (mut parents, mut states, mut parent) = (0, 0, None);
        for (name, value) in request.head.headers() {
            if is(name, TRACEPARENT) {
                parents += 1;
                parent = TraceParent::parse(value);
            } else if is(name, TRACESTATE) {
                states += 1;
            }
        }
        Self {
            parent: parent.filter(|_| parents == 1),
            states,
        }
    }
}

/// Passes one valid list on and nothing else (§4.3): without its `traceparent` it means nothing.
#[cold]
fn set_tracestate(request: &mut Request, fields: usize, is_continued: bool) {
    let values = || {
        let headers = request.head.headers();
        (headers.filter(|(name, _)| is(name, TRACESTATE))).map(|(_, value)| value)
    };
    if !is_continued || !is_valid_tracestate(values()) {
        return request.head.remove_fields(|name| is(name, TRACESTATE));
    }
    if fields > 1 {
        // RFC 9110 §5.3: fields of one name are one list, in their order.
        let list = values().collect::<Vec<_>>().join(&b","[..]);
        request.head.set_field(TRACESTATE, &list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::OtlpConfig;
    use lockgate_http::{Limits, RequestParser};

    fn stage(config: &IdentityConfig) -> Identify {
        Identify::new(config, &Arc::new(IdGenerator::seeded()))
    }

    fn examined(stage: &Identify, fields: &str, is_peer_trusted: bool) -> Request {
        let mut request = Request::default();
        request.admitted.is_peer_trusted = is_peer_trusted;
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        RequestParser::new(Limits::default())
            .step(head.as_bytes(), &mut request.head)
            .unwrap();
        assert!(stage.examine(&mut request, Instant::now()).is_none());
        request
    }

    fn values(request: &Request, name: &[u8]) -> Vec<String> {
        let fields = (request.head.headers()).filter(|(other, _)| is(other, name));
        (fields.map(|(_, value)| String::from_utf8(value.to_vec()).unwrap())).collect()
    }

    fn ids() -> Identify {
        stage(&IdentityConfig {
            request_id: true,
            ..IdentityConfig::default()
        })
    }

    fn traces() -> Identify {
        stage(&IdentityConfig {
            trace: true,
            ..IdentityConfig::default()
        })
    }

    #[test]
    fn an_id_is_taken_from_a_trusted_peer_and_made_otherwise() {
        for (fields, is_trusted, taken) in [
            ("", true, None),
            ("", false, None),
            ("X-Request-Id: abc\r\n", true, Some("abc")),
            ("x-request-ID:  abc \r\n", true, Some("abc")),
            ("X-Request-Id: abc\r\n", false, None),
            ("X-Request-Id: a b\r\n", true, None),
            ("X-Request-Id:\r\n", true, None),
            ("X-Request-Id: abc\r\nX-Request-Id: abc\r\n", true, None),
        ] {
            let request = examined(&ids(), fields, is_trusted);
            let id = request.id().unwrap();
            match taken {
                Some(taken) => assert_eq!(id, taken, "{fields:?}"),
                None => assert_eq!(id.len(), 32, "{fields:?}"),
            }
            assert_eq!(values(&request, REQUEST_ID), [id], "{fields:?}");
            assert!(request.admitted.trace.is_none());
        }
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01";

    /// Fields, whether the peer is trusted; whether the trace is continued, and with which `tracestate`.
    #[test]
    fn a_trace_is_continued_or_begins_here() {
        let parent = &format!("traceparent: {PARENT}\r\n");
        let with = |fields: &str| format!("{parent}{fields}");
        let many = (0..33).map(|index| format!("tracestate: k{index}=1\r\n"));
        let cases: [(String, bool, Option<&[&str]>); 14] = [
            (String::new(), true, None),
            (with(""), true, Some(&[])),
            (with(""), false, None),
            (with("tracestate: a=1\r\n"), true, Some(&["a=1"])),
            (
                with("TraceState: a=1\r\nTRACESTATE: b=2\r\n"),
                true,
                Some(&["a=1,b=2"]),
            ),
            (
                with("tracestate: a=1\r\ntracestate: a=2\r\n"),
                true,
                Some(&[]),
            ),
            (with("tracestate: A=1\r\n"), true, Some(&[])),
            (with("tracestate:\r\n"), true, Some(&[""])),
            (with(&many.collect::<String>()), true, Some(&[])),
            (with("tracestate: a=1\r\n"), false, None),
            (with(parent), true, None),
            (with("Traceparent: x\r\n"), true, None),
            ("tracestate: a=1\r\n".to_owned(), true, None),
            (
                "traceparent: 00-x\r\ntracestate: a=1\r\n".to_owned(),
                true,
                None,
            ),
        ];
        for (fields, is_trusted, continued) in cases {
            let request = examined(&traces(), &fields, is_trusted);
            let trace = request.admitted.trace.unwrap();
            let sent = values(&request, TRACEPARENT);
            assert_eq!(sent.len(), 1, "{fields}");
            assert_eq!(
                TraceParent::parse(sent[0].as_bytes()),
                Some(trace.own),
                "{fields}"
            );
            let parent = TraceParent::parse(PARENT.as_bytes()).unwrap();
            assert_ne!(trace.own.span_id, parent.span_id);
            assert_eq!(
                trace.own.trace_id == parent.trace_id,
                continued.is_some(),
                "{fields}"
            );
            let parent_id = continued.is_some().then_some(parent.span_id);
            assert_eq!(trace.parent_id, parent_id, "{fields}");
            let flags = if continued.is_some() {
                parent.flags
            } else {
                RANDOM | SAMPLED
            };
            assert_eq!(trace.own.flags, flags);
            assert_eq!(
                values(&request, TRACESTATE),
                continued.unwrap_or(&[]),
                "{fields}"
            );
            assert_eq!(request.id(), None);
        }
    }

    #[test]
    fn a_trace_that_the_peer_does_not_sample_stays_so() {
        let unsampled = PARENT.replace("-01", "-00");
        let request = examined(&traces(), &format!("traceparent: {unsampled}\r\n"), true);
        assert_eq!(request.admitted.trace.unwrap().own.flags, 0);
    }

    #[test]
    fn a_part_of_the_traces_is_sampled() {
        for (sample, expected) in [
            (0, 0..=0),
            (1, 0..=10),
            (100, 60..=150),
            (5000, 4700..=5300),
            (9999, 9980..=10_000),
            (10_000, 10_000..=10_000),
        ] {
            let otlp = OtlpConfig {
                host: "localhost".into(),
                port: 4318,
                path: "/v1/traces".into(),
                sample,
                service: "shop".into(),
                ..OtlpConfig::default()
            };
            let stage = stage(&IdentityConfig {
                otlp: Some(otlp),
                ..IdentityConfig::default()
            });
            let sampled = (0..10_000).filter(|_| stage.samples(stage.ids.next_u128()));
            let sampled = sampled.count();
            assert!(expected.contains(&sampled), "{sample}: {sampled} of 10,000");
        }
    }
}
