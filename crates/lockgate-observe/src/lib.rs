//! The log lines and counters of Lockgate, each declared once. Times, process ids and values come from the caller.
//!
//! Invariant: no value made by a client can end a line, begin one or leave its quotes.

#![forbid(unsafe_code)]

mod access;
mod certificates;
mod credentials;
mod date;
mod development;
mod escape;
mod event;
mod format;
mod gunicorn;
mod json;
mod limits;
mod log_line;
mod metrics;
mod object;
mod otlp;
mod path_shape;
mod percent;
mod scoreboard;
mod spans;
mod stacks;
mod statsd;
mod status;
mod uwsgi;

pub use access::{AccessFormat, AccessRecord, Outcome};
pub use certificates::{CertificateView, CertificatesView, RenewalView, certificate_metrics};
pub use date::{WallTime, imf_fixdate};
pub use escape::escape_into;
pub use event::{
    Level, append_text, reads_as_event, shorten, without_middle, write_event, write_json_event,
};
pub use format::BadFormat;
pub use gunicorn::{GunicornAddress, GunicornEvent};
pub use limits::{LimitView, LimitsView, OffenderView, SharingView, limit_metrics, write_limits};
pub use log_line::LogLine;
pub use metrics::{
    CONTENT_TYPE as METRICS_CONTENT_TYPE, CacheCounts, Families, cache_metrics, push_metrics,
    server_metrics,
};
pub use object::Json;
pub use otlp::{OtlpTimes, ProcessView, Resource, write_logs, write_otlp_metrics, write_traces};
pub use path_shape::{path_shape, request_label};
pub use scoreboard::{
    BOUNDS, BUCKETS, Call, Counts, ExitCause, FIRST_WAIT, HandshakeResult, HeldEnd, Loss, LossyLog,
    Maintenance, ReloadState, ReloadView, Response, Running, Scoreboard, State, ThreadEntry,
    Totals, WorkerCounters, WorkerSlot, WorkerView,
};
pub use spans::{SpanRecord, SpanText};
pub use stacks::{WorkerStacks, native_id_line, write_stacks};
pub use statsd::{LogCounts, MOST_DURATIONS, RequestSample, StatsdWriter};
pub use status::write_status;
pub use uwsgi::{CacheView, Memory, write_uwsgi};
