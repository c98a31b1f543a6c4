//! The report on a range of time: the time line, the top paths, the slow requests and the events, as one JSON object.

use std::cmp::Reverse;
use std::collections::HashMap;

use lockgate_observe::{BOUNDS, BUCKETS, Json, Loss};

use crate::event::Event;
use crate::failure::{Failure, FailureGroup, grouped};
use crate::frames::{SourceLines, write_frames, write_samples};
use crate::paths::PathTally;
use crate::point::Moment;
use crate::record::Record;
use crate::series::{Range, Series, Step};
use crate::slow::SlowRequest;

/// Top paths of a report.
const MOST_PATHS: usize = 50;
/// Slow requests of a report: the slowest.
const MOST_SLOW: usize = 100;
/// Events of a report: the last ones.
const MOST_EVENTS: usize = 500;
/// Milliseconds before a record of top paths that it is about.
const PATHS_INTERVAL: u64 = 10_000;

/// What is in the memory of the recorder and not yet in the log.
#[derive(Debug, Clone, Default)]
pub struct Unrecorded {
    /// The slow requests that are running.
    pub slow: Vec<SlowRequest>,
    /// The top paths since the last record of them.
    pub paths: PathTally,
}

/// What other processes have recorded in logs of their own.
#[derive(Debug, Clone, Default)]
pub struct Logged {
    /// The events of the supervisor.
    pub events: Vec<Event>,
    /// The failed requests of the workers.
    pub failures: Vec<Failure>,
}

/// See the module.
#[derive(Debug)]
pub struct Report {
    range: Range,
    now: Moment,
    series: Series,
    paths: PathTally,
    slow: Vec<SlowRequest>,
    events: Vec<Event>,
    failures: Vec<FailureGroup>,
}

impl Report {
    /// The report on a range of time, from records of the history and of the other logs.
    pub fn new(
        records: impl Iterator<Item = Record>,
        logged: Logged,
        unrecorded: Unrecorded,
        range: Range,
        now: Moment,
    ) -> Self {
        let mut series = Series::new(range);
        let mut paths = PathTally::default();
        let mut slow = HashMap::new();
        let mut events = logged.events;
        for record in records {
            match record {
                Record::Point(point) => series.add(&point),
                Record::Paths(at, tally) => {
                    if range.has(at.unix.saturating_sub(PATHS_INTERVAL), at.unix) {
                        paths.merge(&tally);
                    }
                }
                Record::Slow(request) => {
                    let request = SlowRequest {
                        // Otherwise the recorder has it.
                        is_running: false,
                        ..request
                    };
                    slow.insert(request.id, request);
                }
                Record::Event(event) => events.push(event),
            }
        }
        if range.has(now.unix.saturating_sub(PATHS_INTERVAL), now.unix) {
            paths.merge(&unrecorded.paths);
        }
        let running = unrecorded.slow.into_iter();
        slow.extend(running.map(|request| (request.id, request)));
        let mut slow: Vec<SlowRequest> = (slow.into_values())
            .filter(|request| range.has(request.began, request.ended()))
            .collect();
        slow.sort_by_key(|request| (Reverse(request.nanoseconds), request.id));
        slow.truncate(MOST_SLOW);
        events.retain(|event| range.has(event.at.unix, event.at.unix));
        events.sort_by_key(Event::id);
        events.drain(..events.len().saturating_sub(MOST_EVENTS));
        let failures = logged.failures.into_iter();
        let failures = failures.filter(|failure| range.has(failure.at.unix, failure.at.unix));
        Self {
            range,
            now,
            series,
            paths,
            slow,
            events,
            failures: grouped(failures),
        }
    }

    /// Appends the object.
    pub fn write(&self, out: &mut Vec<u8>, lines: &mut SourceLines<'_>) {
        let mut json = Json::default();
        json.open('{');
        json.float("now", seconds(self.now.unix));
        json.float("from", seconds(self.range.from));
        json.float("to", seconds(self.range.to));
        json.float("step", seconds(self.range.step));
        write_bounds(&mut json);
        json.key("points");
        write_points(&mut json, self.series.steps());
        self.write_paths(&mut json);
        json.key("slow");
        json.open('[');
        for request in &self.slow {
            write_slow(&mut json, request, lines);
        }
        json.close(']');
        json.key("errors");
        json.open('[');
        for group in &self.failures {
            write_failures(&mut json, group, lines);
        }
        json.close(']');
        write_events(&mut json, &self.events);
        json.close('}');
        json.finish(out);
    }

    fn write_paths(&self, json: &mut Json) {
        let all = self.paths.nanoseconds().max(1);
        json.key("paths");
        json.open('[');
        for (label, seen) in self.paths.sorted().into_iter().take(MOST_PATHS) {
            json.separate();
            json.open('{');
            json.text("label", label.as_bytes());
            json.seconds("seconds", seen.nanoseconds);
            json.number("requests_seen", seen.requests);
            json.seconds("slowest", seen.slowest);
            json.float("share", seen.nanoseconds as f64 / all as f64);
            json.close('}');
        }
        json.close(']');
    }
}

pub(crate) fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

fn write_bounds(json: &mut Json) {
    let bounds = BOUNDS
        .iter()
        .map(|(nanoseconds, _)| *nanoseconds as f64 / 1e9);
    // The last bucket has none.
    let bounds = bounds.chain([f64::INFINITY]);
    json.floats("bounds", bounds);
}

type Number = fn(&Step) -> u64;
type Histogram = fn(&Step) -> [u64; BUCKETS];

fn write_points(json: &mut Json, steps: impl Iterator<Item = Step> + Clone) {
    json.open('{');
    json.floats("time", steps.clone().map(|step| seconds(step.time)));
    for (class, name) in ["2xx", "3xx", "4xx", "5xx"].into_iter().enumerate() {
        json.numbers(
            name,
            steps
                .clone()
                .map(|step| step.counters.totals.classes[class + 1]),
        );
    }
    json.key("lost");
    json.open('{');
    for (index, loss) in Loss::ALL.into_iter().enumerate() {
        json.numbers(
            loss.name(),
            steps.clone().map(|step| step.counters.totals.losses[index]),
        );
    }
    json.close('}');
    let histograms: [(&str, Histogram); 2] = [
        ("durations", |step| step.counters.totals.durations),
        ("waits", |step| step.counters.totals.waits),
    ];
    for (name, histogram) in histograms {
        json.key(name);
        json.open('[');
        steps
            .clone()
            .for_each(|step| json.number_element(histogram(&step)));
        json.close(']');
    }
    let times: [(&str, Number); 2] = [
        ("waited_seconds", |step| step.counters.totals.waited),
        ("request_seconds", |step| step.counters.totals.duration),
    ];
    for (name, nanoseconds) in times {
        json.floats(
            name,
            steps.clone().map(|step| nanoseconds(&step) as f64 / 1e9),
        );
    }
    let numbers: [(&str, Number); 14] = [
        ("taken", |step| step.counters.totals.waits.iter().sum()),
        ("received", |step| step.counters.totals.received),
        ("sent", |step| step.counters.totals.sent),
        ("limited", |step| step.counters.limited),
        ("cache_hits", |step| step.counters.cache_hits),
        ("cache_misses", |step| step.counters.cache_misses),
        ("connections", |step| step.gauges.connections),
        ("running", |step| step.gauges.running),
        ("threads", |step| step.gauges.threads),
        ("waiting", |step| step.gauges.waiting),
        ("workers", |step| step.gauges.workers),
        ("held", |step| step.gauges.held),
        ("websockets", |step| step.gauges.websockets),
        ("memory", |step| step.gauges.memory),
    ];
    for (name, number) in numbers {
        json.numbers(name, steps.clone().map(|step| number(&step)));
    }
    // What is not known is null.
    let cpu = |step: Step| step.gauges.cpu.map_or(f64::NAN, |cpu| cpu as f64 / 1e6);
    json.floats("cpu", steps.map(cpu));
    json.close('}');
}

fn write_slow(json: &mut Json, request: &SlowRequest, lines: &mut SourceLines<'_>) {
    json.separate();
    json.open('{');
    json.number("id", request.id);
    json.text("label", request.label.as_bytes());
    json.text("method", &request.method);
    json.text("target", &request.target);
    json.number("worker", request.worker as u64);
    json.number("thread", request.thread);
    json.float("began", seconds(request.began));
    json.seconds("seconds", request.nanoseconds);
    json.truth("is_running", request.is_running);
    json.text("client", &request.client);
    json.text("request_id", &request.request_id);
    write_samples(json, &request.samples, lines, request.began);
    json.close('}');
}

fn write_failures(json: &mut Json, group: &FailureGroup, lines: &mut SourceLines<'_>) {
    let Failure { cause, .. } = &group.last;
    json.separate();
    json.open('{');
    json.text("label", group.last.label.as_bytes());
    match group.last.status {
        0 => json.null("status"),
        status => json.number("status", status.into()),
    }
    json.number("count", group.count);
    json.float("first", seconds(group.first));
    json.float("last", seconds(group.last.at.unix));
    json.text("exception", cause.exception.as_bytes());
    json.text("message", cause.message.as_bytes());
    json.number("worker", group.last.worker as u64);
    json.text("request_id", &group.last.request_id);
    write_frames(json, &cause.frames, lines, group.last.at.unix);
    json.close('}');
}

/// Appends events, without the brackets of the object that they are in.
fn write_events(json: &mut Json, events: &[Event]) {
    json.key("events");
    json.open('[');
    for event in events {
        json.separate();
        json.open('{');
        json.number("id", event.id());
        json.float("time", seconds(event.at.unix));
        json.text("kind", event.kind.name().as_bytes());
        json.text("level", event.level.name().to_ascii_lowercase().as_bytes());
        match event.worker {
            Some(slot) => json.number("worker", slot as u64),
            None => json.null("worker"),
        }
        json.number("generation", event.generation);
        json.text("text", event.text.as_bytes());
        json.close('}');
    }
    json.close(']');
}

/// Appends the object of the events after one with this id; 0: all that are left. `last` is the id of the last one that is
/// left, 0 without any: less than `after` if ids have begun again at a boot of the host.
pub fn write_event_list(out: &mut Vec<u8>, mut events: Vec<Event>, after: u64) {
    let last = events.iter().map(Event::id).max().unwrap_or(0);
    events.retain(|event| event.id() > after);
    events.sort_by_key(Event::id);
    let mut json = Json::default();
    json.open('{');
    json.text("name", b"lockgate");
    write_events(&mut json, &events);
    json.number("last", last);
    json.close('}');
    json.finish(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;
    use lockgate_observe::Level;

    #[test]
    fn the_last_id_is_that_of_an_event_and_not_of_the_question() {
        let event = |id: u64| Event {
            at: Moment {
                monotonic: id * 1000,
                unix: 1_790_000_000_000,
            },
            kind: EventKind::Start,
            level: Level::Info,
            worker: None,
            generation: 0,
            text: "all 2 workers are ready".to_owned(),
        };
        for (ids, after, expected, last) in [
            (&[7, 5][..], 0, &[5, 7][..], 7),
            (&[7, 5], 5, &[7], 7),
            (&[7, 5], 7, &[], 7),
            // Of before a boot of the host.
            (&[7, 5], 5_000_000, &[], 7),
            (&[], 5, &[], 0),
            (&[], 0, &[], 0),
        ] {
            let events = ids.iter().map(|&id| event(id)).collect();
            let mut out = Vec::new();
            write_event_list(&mut out, events, after);
            let found: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let shown = found["events"].as_array().unwrap().iter();
            let shown: Vec<u64> = shown.map(|event| event["id"].as_u64().unwrap()).collect();
            assert_eq!((&shown[..], &found["last"]), (expected, &last.into()));
        }
    }
}
