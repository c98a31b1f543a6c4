//! A profile as a file for <https://www.speedscope.app>: the wall time, the CPU time, and each slow request.

use std::collections::HashMap;
use std::fmt::Write;

use super::escape;
use super::layout::Measure;
use super::names::{Names, shown_frames, shown_label};
use super::tree::Subject;
use crate::{Activity, Profile, Weight};

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

/// Appends the profile as JSON of speedscope's schema. `heading` names the profile; `version` is that of this program.
pub fn write_speedscope(out: &mut Vec<u8>, profile: &Profile, heading: &str, version: &str) {
    let mut frames = Frames::new(profile);
    let mut rows: Vec<_> = profile.counted_rows().collect();
    // Views in the order of time then show what belongs together side by side.
    rows.sort_by_key(|(row, _)| (&row.label, row.stack, &row.activity));
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for (row, weight) in rows {
        let label = shown_label(row, &shown_frames(profile, row.stack));
        let stack = frames.stack(Subject::Request(label), row.stack, &row.activity);
        wall.push((stack.clone(), seconds(profile, Measure::Wall, *weight)));
        if !weight.cpu.is_zero() {
            cpu.push((stack, seconds(profile, Measure::Cpu, *weight)));
        }
    }
    let mut profiles = vec![("wall time".to_owned(), wall), ("CPU time".to_owned(), cpu)];
    for request in &profile.requests {
        let label = Subject::Request(&request.label);
        let samples: Vec<_> = (request.samples.iter())
            .map(|(stack, activity, weight)| {
                let seconds = seconds(profile, Measure::Wall, *weight);
                (frames.stack(label, *stack, activity), seconds)
            })
            .collect();
        let id = match request.request_id.as_str() {
            "" => String::new(),
            id => format!(", id {id}"),
        };
        let duration = request.duration.as_secs_f64();
        profiles.push((format!("{} ({duration:.2} s{id})", request.label), samples));
    }
    let mut text = format!("{{\"$schema\":\"{SCHEMA}\",\"exporter\":");
    escape::json(&mut text, &format!("lockgate {version}"));
    text.push_str(",\"name\":");
    escape::json(&mut text, heading);
    text.push_str(",\"activeProfileIndex\":0,\"shared\":{\"frames\":[");
    text.push_str(&frames.texts.join(","));
    text.push_str("]},\"profiles\":[");
    for (index, (name, samples)) in profiles.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_sampled(&mut text, name, samples);
    }
    text.push_str("]}\n");
    out.extend_from_slice(text.as_bytes());
}

fn seconds(profile: &Profile, measure: Measure, weight: Weight) -> f64 {
    match measure {
        Measure::Wall => profile.time_of(weight.samples).as_secs_f64(),
        Measure::Cpu => weight.cpu.as_secs_f64(),
    }
}

fn write_sampled(text: &mut String, name: &str, samples: &[(Vec<usize>, f64)]) {
    let whole: f64 = samples.iter().map(|(_, weight)| weight).sum();
    text.push_str("{\"type\":\"sampled\",\"name\":");
    escape::json(text, name);
    // Writing to a String does not fail.
    let _ = write!(
        text,
        ",\"unit\":\"seconds\",\"startValue\":0,\"endValue\":{whole:.6},\"samples\":["
    );
    for (index, (stack, _)) in samples.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{stack:?}");
    }
    text.push_str("],\"weights\":[");
    for (index, (_, weight)) in samples.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{weight:.6}");
    }
    text.push_str("]}");
}

/// The frames that all profiles of the file share.
struct Frames<'a> {
    profile: &'a Profile,
    names: Names,
    /// JSON objects.
    texts: Vec<String>,
    numbers: HashMap<Subject<'a>, usize>,
}

impl<'a> Frames<'a> {
    fn new(profile: &'a Profile) -> Self {
        Self {
            profile,
            names: Names::new(profile),
            texts: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    /// The numbers of a stack's frames, the request first.
    fn stack(
        &mut self,
        label: Subject<'a>,
        stack: crate::StackId,
        activity: &'a Activity,
    ) -> Vec<usize> {
        let mut numbers = vec![self.number(label)];
        for frame in shown_frames(self.profile, stack) {
            numbers.push(self.number(Subject::Frame(frame)));
        }
        if !activity.is_running() {
            numbers.push(self.number(Subject::Wait(activity)));
        }
        numbers
    }

    fn number(&mut self, subject: Subject<'a>) -> usize {
        if let Some(number) = self.numbers.get(&subject) {
            return *number;
        }
        let mut text = "{\"name\":".to_owned();
        match subject {
            Subject::Frame(frame) => {
                escape::json(&mut text, &frame.function);
                text.push_str(",\"file\":");
                escape::json(&mut text, self.names.path(&frame.file));
                // A line of 0 would be shown.
                if frame.line > 0 {
                    let _ = write!(text, ",\"line\":{}", frame.line);
                }
            }
            other => escape::json(&mut text, &other.label(&self.names)),
        }
        text.push('}');
        let number = self.texts.len();
        self.texts.push(text);
        self.numbers.insert(subject, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Sample, profile, shop};
    use super::*;
    use serde_json::{Value, json};

    fn parsed(profile: &Profile) -> Value {
        let mut out = Vec::new();
        write_speedscope(&mut out, profile, "Profile", "1.2.3");
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn wall_time_cpu_time_and_slow_requests_are_profiles() {
        let value = parsed(&profile(&[
            Sample("GET /", "thread main", Activity::Running, 3, 25),
            Sample("GET /", "thread main json.loads", Activity::Gil, 2, 0),
            Sample("", "thread idle", Activity::Sleep, 9, 0),
        ]));
        let expected = json!({
            "$schema": SCHEMA,
            "exporter": "lockgate 1.2.3",
            "name": "Profile",
            "activeProfileIndex": 0,
            "shared": {"frames": [
                {"name": "GET /"},
                {"name": "main", "file": "app.py", "line": 1},
                {"name": "loads", "file": "json.py", "line": 7},
                {"name": "waits for the GIL"},
            ]},
            "profiles": [
                {
                    "type": "sampled", "name": "wall time", "unit": "seconds",
                    "startValue": 0, "endValue": 0.05,
                    "samples": [[0, 1], [0, 1, 2, 3]], "weights": [0.03, 0.02],
                },
                {
                    "type": "sampled", "name": "CPU time", "unit": "seconds",
                    "startValue": 0, "endValue": 0.025,
                    "samples": [[0, 1]], "weights": [0.025],
                },
            ],
        });
        assert_eq!(value, expected);
        let value = parsed(&shop());
        let names: Vec<_> = (value["profiles"].as_array().unwrap().iter())
            .map(|profile| profile["name"].as_str().unwrap())
            .collect();
        let slow = "GET /cart/17 (0.92 s, id 0af7651916cd43dd8448eb211c80319c)";
        assert_eq!(names, ["wall time", "CPU time", slow]);
    }

    #[test]
    fn the_file_is_the_golden_one() {
        let mut out = Vec::new();
        let heading = "Profile of 2 workers, 2026-11-29 23:40:12 UTC";
        write_speedscope(&mut out, &shop(), heading, "0.0.0");
        let is_same = out == include_bytes!("speedscope/shop.json");
        assert!(is_same, "see the golden test of the flame graph");
    }

    #[test]
    fn every_sample_has_a_weight_and_known_frames() {
        for profile in [shop(), Profile::default()] {
            let value = parsed(&profile);
            let frames = value["shared"]["frames"].as_array().unwrap().len() as u64;
            for profile in value["profiles"].as_array().unwrap() {
                let samples = profile["samples"].as_array().unwrap();
                assert_eq!(samples.len(), profile["weights"].as_array().unwrap().len());
                for number in samples.iter().flat_map(|sample| sample.as_array().unwrap()) {
                    assert!(number.as_u64().unwrap() < frames);
                }
            }
        }
    }
}
