//! The OTLP exporter: reads what workers have recorded of requests in shared memory, and sends it, and the metrics of the
//! server, to a collector by OTLP over HTTP.
//!
//! It runs in a process of its own. Nothing waits for it: records that it does not read in time are overwritten, and
//! what the collector does not take is dropped. Both are counted and logged.
#![forbid(unsafe_code)]

mod answer;
mod collector;
mod delivery;
mod exporter;
mod queue;
mod reports;

pub use exporter::{Exporter, Host, Recorded, Sender, Stage};
