//! A profile as JSON for the admin page: sums, and the tree of the flame graph as a flat list.
//!
//! ```json
//! {"heading": "Profile of 4 workers, …", "interval": 0.01, "duration": 10.0, "rounds": 1000, "missed": 0, "failed": 0, "seconds": 34.2, "cpu": 3.1,
//!  "activities": [{"activity": "network 10.0.0.5:5432", "kind": "network", "seconds": 9.2}],
//!  "paths": [{"label": "GET /cart/*", "seconds": 15.4, "cpu": 4.5, "activities": [as above]}],
//!  "lines": [{"function", "file", "short", "line", "origin": "own", "self": 3.1, "total": 4.0, "self_cpu", "total_cpu"}],
//!  "nodes": [{"parent": 0, "name": "cart (app.py:1)", "kind": "own", "file"?, "line"?, "seconds", "self", "cpu"}],
//!  "requests": [{"label", "request_id", "seconds", "samples": [{"count", "activity", "frames": [the most recent first]}]}]}
//! ```
//!
//! Seconds are those of threads: two threads spend two of them in one. A node's parent comes before it, children of a
//! parent with the largest first; the first node is everything, and its own parent. `kind` is `all`, `request`, whose
//! code it is (`own`, `package`, `python`), or what was waited for. An empty label
//! stands for threads of the application without a request.

use std::fmt::Write;
use std::time::Duration;

use super::escape;
use super::layout::{Measure, preorder};
use super::names::{Names, origin};
use super::summary::Summary;
use super::tree::{Subject, Tree, wait_kind};
use crate::{Activity, Frame, Profile, Weight};

/// Lines of the list of hot lines, those with the most time of their own; about as many by their total follow.
const MOST_LINES: usize = 100;
/// Parts of the tree that are smaller than this part of it are left out.
const SMALLEST_PART: f64 = 1e-4;

/// Appends the profile. See the module. `heading` names the profile.
pub fn write_json(out: &mut Vec<u8>, profile: &Profile, heading: &str) {
    let names = Names::new(profile);
    let summary = Summary::new(profile);
    let mut writer = Writer {
        text: String::new(),
        profile,
        names: &names,
    };
    writer.head(heading, &summary);
    writer.text.push_str(",\"activities\":");
    writer.activities(&summary.activities);
    writer.text.push_str(",\"paths\":");
    writer.list(&summary.requests, |writer, request| {
        writer.text.push_str("{\"label\":");
        escape::json(&mut writer.text, request.label);
        writer.weight(request.total);
        writer.text.push_str(",\"activities\":");
        writer.activities(&request.activities);
        writer.text.push('}');
    });
    writer.text.push_str(",\"lines\":");
    let mut by_total: Vec<_> = summary.lines.iter().skip(MOST_LINES).collect();
    by_total.sort_by_key(|line| std::cmp::Reverse(line.total.samples));
    let lines: Vec<_> = (summary.lines.iter().take(MOST_LINES))
        .chain(by_total.into_iter().take(MOST_LINES))
        .collect();
    writer.list(&lines, |writer, line| {
        writer.text.push('{');
        writer.frame(line.frame);
        writer.text.push_str(",\"short\":");
        escape::json(&mut writer.text, names.path(&line.frame.file));
        let _ = write!(
            writer.text,
            ",\"origin\":\"{}\"",
            origin(&line.frame.file).0.name()
        );
        let (own, total) = (line.own, line.total);
        writer.number("self", profile.time_of(own.samples));
        writer.number("total", profile.time_of(total.samples));
        writer.number("self_cpu", own.cpu);
        writer.number("total_cpu", total.cpu);
        writer.text.push('}');
    });
    writer.nodes();
    writer.requests();
    writer.text.push_str("}\n");
    out.extend_from_slice(writer.text.as_bytes());
}

struct Writer<'a> {
    text: String,
    profile: &'a Profile,
    names: &'a Names,
}

impl Writer<'_> {
    fn head(&mut self, heading: &str, summary: &Summary<'_>) {
        let profile = self.profile;
        self.text.push_str("{\"heading\":");
        escape::json(&mut self.text, heading);
        let _ = write!(
            self.text,
            ",\"interval\":{:.6},\"duration\":{:.3},\"rounds\":{},\"missed\":{},\"failed\":{}",
            profile.interval.as_secs_f64(),
            profile.duration.as_secs_f64(),
            profile.rounds,
            profile.missed,
            profile.failed
        );
        self.weight(summary.total);
    }

    fn nodes(&mut self) {
        let tree = Tree::new(self.profile);
        let places = preorder(&tree, Measure::Wall, SMALLEST_PART);
        let mut numbers = vec![0; tree.nodes.len()];
        for (number, place) in places.iter().enumerate() {
            numbers[place.node] = number;
        }
        self.text.push_str(",\"nodes\":");
        self.list(&places, |writer, place| {
            let node = &tree.nodes[place.node];
            let _ = write!(
                writer.text,
                "{{\"parent\":{},\"name\":",
                numbers[node.parent]
            );
            escape::json(&mut writer.text, &node.subject.label(writer.names));
            let _ = write!(writer.text, ",\"kind\":\"{}\"", node.subject.kind());
            if let Subject::Frame(frame) = node.subject {
                writer.text.push_str(",\"file\":");
                escape::json(&mut writer.text, &frame.file);
                let _ = write!(writer.text, ",\"line\":{}", frame.line);
            }
            writer.weight(node.total);
            writer.number("self", writer.profile.time_of(node.own.samples));
            writer.text.push('}');
        });
    }

    fn requests(&mut self) {
        self.text.push_str(",\"requests\":");
        let profile = self.profile;
        self.list(&profile.requests, |writer, request| {
            writer.text.push_str("{\"label\":");
            escape::json(&mut writer.text, &request.label);
            writer.text.push_str(",\"request_id\":");
            escape::json(&mut writer.text, &request.request_id);
            writer.number("seconds", request.duration);
            writer.text.push_str(",\"samples\":");
            writer.list(&request.samples, |writer, (stack, activity, weight)| {
                let _ = write!(writer.text, "{{\"count\":{},\"activity\":", weight.samples);
                escape::json(&mut writer.text, &activity.to_string());
                writer.text.push_str(",\"frames\":");
                let frames: Vec<_> = profile.stacks.frames(*stack).collect();
                writer.list(&frames, |writer, frame| {
                    writer.text.push('{');
                    writer.frame(frame);
                    writer.text.push('}');
                });
                writer.text.push('}');
            });
            writer.text.push('}');
        });
    }

    fn activities(&mut self, activities: &[(&Activity, Weight)]) {
        self.list(activities, |writer, (activity, weight)| {
            writer.text.push_str("{\"activity\":");
            escape::json(&mut writer.text, &activity.to_string());
            let _ = write!(writer.text, ",\"kind\":\"{}\"", wait_kind(activity));
            writer.number("seconds", writer.profile.time_of(weight.samples));
            writer.text.push('}');
        });
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.text.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            write(self, item);
        }
        self.text.push(']');
    }

    fn frame(&mut self, frame: &Frame) {
        self.text.push_str("\"function\":");
        escape::json(&mut self.text, &frame.function);
        self.text.push_str(",\"file\":");
        escape::json(&mut self.text, &frame.file);
        let _ = write!(self.text, ",\"line\":{}", frame.line);
    }

    fn weight(&mut self, weight: Weight) {
        self.number("seconds", self.profile.time_of(weight.samples));
        self.number("cpu", weight.cpu);
    }

    fn number(&mut self, name: &str, time: Duration) {
        let _ = write!(self.text, ",\"{name}\":{:.4}", time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Sample, profile, shop};
    use super::*;
    use serde_json::Value;

    fn parsed(profile: &Profile) -> Value {
        let mut out = Vec::new();
        write_json(&mut out, profile, "Profile \"1\"");
        assert!(out.is_ascii() && out.ends_with(b"}\n"));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn sums_and_nodes_of_a_profile_are_in_the_json() {
        let value = parsed(&shop());
        for (pointer, expected) in [
            ("/heading", r#""Profile \"1\"""#),
            ("/seconds", "2.36"),
            ("/cpu", "0.705"),
            ("/activities/0/activity", "\"network 10.0.0.5:5432\""),
            ("/activities/0/kind", "\"network\""),
            ("/activities/0/seconds", "0.92"),
            ("/paths/0/label", "\"GET /cart/*\""),
            ("/paths/0/activities/1/activity", "\"running\""),
            ("/lines/0/function", "\"execute\""),
            ("/lines/0/file", "\"/venv/site-packages/psycopg/cursor.py\""),
            ("/lines/0/short", "\"psycopg/cursor.py\""),
            ("/lines/0/origin", "\"package\""),
            ("/lines/0/self", "0.95"),
            ("/lines/0/self_cpu", "0.02"),
            ("/nodes/0/kind", "\"all\""),
            ("/nodes/1/name", "\"GET /cart/*\""),
            ("/nodes/1/parent", "0"),
            ("/nodes/2/name", "\"wsgi_app (flask/app.py:7)\""),
            ("/nodes/2/parent", "1"),
            ("/requests/0/label", "\"GET /cart/17\""),
            ("/requests/0/samples/0/count", "71"),
            ("/requests/0/samples/0/frames/0/function", "\"execute\""),
        ] {
            let found = value.pointer(pointer).map(Value::to_string);
            assert_eq!(found.as_deref(), Some(expected), "{pointer}");
        }
        let nodes = value["nodes"].as_array().unwrap();
        for (number, node) in nodes.iter().enumerate().skip(1) {
            assert!((node["parent"].as_u64().unwrap() as usize) < number);
        }
    }

    #[test]
    fn any_name_is_valid_json() {
        for label in ["GET /\"\\", "GET /</script>", "GET /\u{1b}[2Jé\u{202e}"] {
            let profile = profile(&[Sample(label, "main", Activity::Running, 1, 1)]);
            assert_eq!(parsed(&profile)["paths"][0]["label"], label);
        }
        assert_eq!(
            parsed(&Profile::default())["nodes"],
            Value::Array(Vec::new())
        );
    }
}
