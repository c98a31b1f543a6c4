//! The span exporter: reads what workers have recorded in the span log, and sends it to a collector by OTLP over HTTP.
//!
//! It runs in a process of its own. Nothing waits for it: records that it does not read in time are overwritten, and
//! spans that the collector does not take are dropped. Both are counted and logged.
#![forbid(unsafe_code)]

mod collector;
mod exporter;
mod reports;

pub use exporter::{Exporter, Host};
