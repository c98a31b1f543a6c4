//! The identity of a request: its id, its place in a trace, and where spans are sent.

use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdentityConfig {
    /// Whether each request has an id.
    pub request_id: bool,
    /// Whether `X-Request-Start` of a trusted proxy counts into the time in the queue.
    pub request_start: bool,
    /// Whether `traceparent` is read, continued and passed on (W3C Trace Context).
    pub trace: bool,
    /// Where spans are sent by OTLP over HTTP; `None`: they are not.
    pub otlp: Option<OtlpConfig>,
}

impl IdentityConfig {
    /// Whether requests have an id or a place in a trace.
    pub fn is_on(&self) -> bool {
        self.request_id || self.traces()
    }

    /// Whether requests have a place in a trace.
    pub fn traces(&self) -> bool {
        self.trace || self.otlp.is_some()
    }
}

/// OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// `http://HOST:PORT/v1/traces`.
    pub host: String,
    /// Not 0.
    pub port: u16,
    /// The path.
    pub path: String,
    /// Hundredths of a per cent of traces that are sent, where no parent has decided.
    pub sample: u32,
    /// `service.name`.
    pub service: String,
    /// How long spans are collected before they are sent.
    pub interval: Duration,
}
