//! Spans of the server: the record that a worker writes for each sampled request, and the OTLP text of many of them.

mod otlp;
mod record;

pub use otlp::{Resource, write_traces};
pub use record::{SpanRecord, SpanText};
