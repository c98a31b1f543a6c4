//! Spans of the server: the record that a worker writes for each sampled request.

mod record;

pub use record::{SpanRecord, SpanText};
