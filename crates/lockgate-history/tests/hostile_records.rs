//! Records that another process has damaged or made up: whatever is in the log, the history is one JSON object, or has
//! nothing to show.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lockgate_history::{
    Counters, EVENTS_PLAN, Event, EventKind, EventLog, FailureLog, Gauges, HISTORY_PLAN, History,
    Logged, Moment, Point, Range, Record, Report, SlowRequest, SlowSample, Unrecorded,
    write_event_list,
};
use lockgate_observe::Level;
use lockgate_profile::{Activity, Frame};
use lockgate_shm::{Log, Read};

const CHANNEL: &[u8] = b"h";
/// Milliseconds since 1970.
const START: u64 = 1_790_000_000_000;

fn log() -> Log {
    let words = (0..HISTORY_PLAN.words()).map(|_| AtomicU64::new(0));
    let locks = (0..HISTORY_PLAN.lock_words()).map(|_| AtomicU32::new(0));
    let (words, locks): (Vec<_>, Vec<_>) = (words.collect(), locks.collect());
    Log::new(Vec::leak(locks), Vec::leak(words), HISTORY_PLAN, (0, 0)).unwrap()
}

/// A record of each kind that can be made from outside.
fn records() -> Vec<Record> {
    let at = |second: u64| Moment {
        monotonic: second * 1_000_000_000,
        unix: START + second * 1000,
    };
    let point = |second| {
        let mut counters = Counters::default();
        counters.totals.classes[1] = 100 * second;
        counters.totals.durations[3] = 100 * second;
        Record::Point(Box::new(Point {
            at: at(second),
            counters,
            gauges: Gauges::default(),
        }))
    };
    let frame = |line| Frame {
        function: "größe".to_owned(),
        file: "/srv/shop/<script>.py".to_owned(),
        line,
    };
    let slow = SlowRequest {
        id: 7,
        label: "GET /orders/*".to_owned(),
        method: b"GET".to_vec(),
        target: b"/orders/\xff\"".to_vec(),
        worker: 3,
        thread: 4242,
        began: START + 1000,
        nanoseconds: 2_500_000_000,
        is_running: true,
        client: b"::1".to_vec(),
        request_id: b"4bf9".to_vec(),
        samples: vec![SlowSample {
            count: 3,
            activity: Activity::Network("10.0.0.5:5432".to_owned()),
            frames: vec![frame(1), frame(2)],
        }],
    };
    let event = Event {
        at: at(2),
        kind: EventKind::WorkerDied,
        level: Level::Error,
        worker: Some(0),
        generation: 4,
        text: "\u{1b}[2J\"".to_owned(),
    };
    let mut records: Vec<Record> = (1..5).map(point).collect();
    records.extend([Record::Slow(slow), Record::Event(event)]);
    records
}

/// A generator of numbers (xorshift64*), the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Bytes that are changed, cut, repeated, or of large numbers.
    fn damaged(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 => {
                    // The largest number that fits, in the place of a number of one byte.
                    let end = (at + 1).min(bytes.len());
                    let largest = [&[0xff; 9][..], &[0x01]].concat();
                    bytes.splice(at..end, largest);
                }
                3 => bytes.extend_from_within(at..),
                _ => {
                    let made: Vec<u8> = (0..self.below(12)).map(|_| self.next() as u8).collect();
                    bytes.splice(at..at, made);
                }
            }
        }
        bytes
    }
}

/// The report and the events of a log, as JSON.
fn shown(log: Log, range: Range) -> (serde_json::Value, serde_json::Value) {
    let history = History::open(log);
    let now = Moment {
        monotonic: 10_000_000_000,
        unix: START + 10_000,
    };
    let records = history.records(0);
    let report = Report::new(
        records,
        Logged {
            events: EventLog::new(log).read(),
            failures: FailureLog::new(log).read(),
        },
        Unrecorded::default(),
        range,
        now,
    );
    let (mut text, mut events) = (Vec::new(), Vec::new());
    report.write(&mut text, &mut |_, _, _| None);
    write_event_list(&mut events, EventLog::new(log).read(), 0);
    assert!(text.is_ascii() && events.is_ascii());
    let json = |text: &[u8]| serde_json::from_slice(text).expect("JSON");
    (json(&text), json(&events))
}

#[test]
fn whatever_is_in_the_log_the_history_is_json() {
    let source = log();
    let mut good = History::open(source);
    for record in records() {
        good.append(&record).unwrap();
    }
    let whole = Range::new(START, START + 10_000, 1000);
    assert_eq!(shown(source, whole).0["slow"][0]["worker"], 3);
    let (mut cursor, mut bytes, mut encoded) = (source.oldest(), Vec::new(), Vec::new());
    while let Read::Record { .. } = source.read(&mut cursor, &mut bytes) {
        encoded.push(bytes.clone());
    }
    assert_eq!(encoded.len(), records().len());
    // In the log of events they are without the kind of a record.
    encoded.extend(records().iter().filter_map(|record| match record {
        Record::Event(event) => Some(event.encode()),
        _ => None,
    }));
    let ranges = [
        whole,
        Range::new(0, u64::MAX, 1),
        Range::new(u64::MAX, 0, u64::MAX),
        Range::new(START, START, 1),
    ];
    let mut numbers = Numbers(0x5eed);
    for round in 0..40 {
        let hostile = log();
        for _ in 0..60 {
            let chosen = numbers.below(encoded.len());
            let record = match round % 2 {
                0 => numbers.damaged(&encoded[chosen]),
                // Whole ones between them.
                _ if numbers.below(2) == 0 => encoded[chosen].clone(),
                _ => numbers.damaged(&encoded[chosen]),
            };
            hostile.append(CHANNEL, b"", &record, 0).unwrap();
        }
        let _: Vec<_> = ranges.iter().map(|range| shown(hostile, *range)).collect();
    }
}

#[test]
fn a_log_whose_memory_is_overwritten_neither_panics_nor_ends_never() {
    let event = Event {
        at: Moment {
            monotonic: 1,
            unix: START,
        },
        kind: EventKind::Log,
        level: Level::Warning,
        worker: None,
        generation: 1,
        text: "x".repeat(500),
    };
    let mut numbers = Numbers(0xdead);
    for round in 0..60 {
        let words: &'static [AtomicU64] = Vec::leak(
            (0..EVENTS_PLAN.words())
                .map(|_| AtomicU64::new(0))
                .collect(),
        );
        let locks = (0..EVENTS_PLAN.lock_words()).map(|_| AtomicU32::new(0));
        let locks: Vec<_> = locks.collect();
        let log = Log::new(Vec::leak(locks), words, EVENTS_PLAN, (0, 0)).unwrap();
        let events = EventLog::new(log);
        for _ in 0..numbers.below(40) {
            assert!(events.append(&event));
        }
        // The words at the beginning say where records are; the others are records.
        for _ in 0..=numbers.below(6) {
            let at = match round % 3 {
                0 => numbers.below(64),
                1 => numbers.below(4096),
                _ => numbers.below(words.len()),
            };
            let value = match numbers.below(4) {
                0 => u64::MAX,
                1 => numbers.next() % 5000,
                2 => 1 << numbers.below(64),
                _ => numbers.next(),
            };
            words[at].store(value, Ordering::Relaxed);
        }
        for _ in 0..3 {
            events.append(&event);
            assert!(events.read().len() <= EVENTS_PLAN.size);
        }
    }
}
