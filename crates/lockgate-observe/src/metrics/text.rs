//! The text format of Prometheus, version 0.0.4.
//!
//! Invariant: a family is one HELP line, one TYPE line and its samples, together.

use super::family::{Families, Family, Histogram, Kind, Points, Value};
use crate::scoreboard::BOUNDS;

/// The Content-Type of the response.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Families {
    /// Appends all families.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|family| write_family(out, family));
    }
}

fn write_family(out: &mut Vec<u8>, family: &Family) {
    let Family { name, help, points } = family;
    let kind = match points {
        Points::Samples(Kind::Gauge, _) => "gauge",
        Points::Samples(Kind::Counter, _) => "counter",
        Points::Histogram(_) => "histogram",
    };
    let lines = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    out.extend_from_slice(lines.as_bytes());
    match points {
        Points::Samples(_, samples) => {
            for sample in samples {
                let labels = sample.labels.iter();
                let pairs: Vec<String> = labels
                    .map(|(name, text)| format!("{name}=\"{}\"", escaped(text)))
                    .collect();
                let labels = match pairs.is_empty() {
                    true => String::new(),
                    false => format!("{{{}}}", pairs.join(",")),
                };
                write_sample(out, &format!("{name}{labels}"), sample.value);
            }
        }
        Points::Histogram(histogram) => write_histogram(out, name, histogram),
    }
}

/// The cumulative buckets, from the first bound on that is shown.
fn write_histogram(out: &mut Vec<u8>, name: &str, histogram: &Histogram) {
    let bounds = BOUNDS.iter().map(|(_, text)| *text).chain(["+Inf"]);
    let mut below = 0;
    for (index, (bound, count)) in bounds.zip(&histogram.counts).enumerate() {
        below += count;
        if index >= histogram.first {
            let series = format!("{name}_bucket{{le=\"{bound}\"}}");
            write_sample(out, &series, Value::Whole(below));
        }
    }
    let sum = Value::Nanoseconds(histogram.sum);
    write_sample(out, &format!("{name}_sum"), sum);
    write_sample(out, &format!("{name}_count"), Value::Whole(below));
}

fn write_sample(out: &mut Vec<u8>, series: &str, value: Value) {
    out.extend_from_slice(format!("{series} {value}\n").as_bytes());
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
