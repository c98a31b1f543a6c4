//! The identity of a request: its id, its place in a trace, and where spans are sent.

use std::time::Duration;

use crate::memory::WHOLE;

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
    /// Whether metrics are sent, too.
    pub metrics: bool,
    /// How often.
    pub metrics_interval: Duration,
    /// Whether lines of the error log are sent, too.
    pub logs: bool,
}

impl Default for OtlpConfig {
    /// The defaults of the settings, without a collector.
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 0,
            path: String::new(),
            sample: WHOLE,
            service: "lockgate".to_owned(),
            interval: Duration::from_secs(5),
            metrics: false,
            metrics_interval: Duration::from_secs(60),
            logs: false,
        }
    }
}

/// OpenTelemetry's path for spans.
pub(crate) const TRACES: &str = "/v1/traces";

/// What is sent to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpSignal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Lines of the error log.
    Logs,
}

impl OtlpConfig {
    /// The path of one signal: beside that of spans, which must be OpenTelemetry's if anything else is sent.
    pub fn path_of(&self, signal: OtlpSignal) -> String {
        let base = self.path.strip_suffix(TRACES).unwrap_or_default();
        match signal {
            OtlpSignal::Traces => self.path.clone(),
            OtlpSignal::Metrics => format!("{base}/v1/metrics"),
            OtlpSignal::Logs => format!("{base}/v1/logs"),
        }
    }
}
