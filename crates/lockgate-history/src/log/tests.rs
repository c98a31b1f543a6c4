//! The log in memory of its real size.

use std::sync::atomic::{AtomicU32, AtomicU64};

use lockgate_observe::{Call, Level, Running};

use super::*;
use crate::{EventKind, Moment, Observed, Recorder};

const START: u64 = 1_790_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn log(plan: LogPlan) -> Log {
    let lock_words = (0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect();
    let words = (0..plan.words()).map(|_| AtomicU64::new(0)).collect();
    Log::new(Vec::leak(lock_words), Vec::leak(words), plan, (1, 2)).unwrap()
}

/// The seconds since the start at which there are points.
fn points(history: &History, from: u64) -> Vec<u64> {
    let points = history.records(from).filter_map(|record| match record {
        Record::Point(point) => Some((point.at.unix - START) / 1000),
        _ => None,
    });
    points.collect()
}

#[test]
fn both_logs_need_less_than_eight_mebibytes() {
    let bytes = [HISTORY_PLAN, EVENTS_PLAN].map(|plan| plan.words() * 8 + (64 << 10));
    assert!(bytes.iter().sum::<usize>() < 8 << 20, "{bytes:?}");
}

/// 64 threads that run nothing but slow requests with long paths, for an hour and twenty minutes.
#[test]
fn an_hour_of_points_fits_whatever_clients_do() {
    let mut history = History::open(log(HISTORY_PLAN));
    let at = |second: u64| Moment {
        monotonic: (100 + second) * SECOND,
        unix: START + second * 1000,
    };
    let mut recorder = Recorder::new(SECOND, at(0));
    let mut observed = Observed::default();
    let (seconds, mut slow) = (4800, 0);
    for second in 1..=seconds {
        let calls = (0..64_u64).map(|thread| {
            // Each runs for four seconds.
            let began = (second - 1) & !3;
            let words = ["checkout", "catalogue", "customer", "delivery"];
            let word = words[(thread % 4) as usize];
            let rest = "long-name/".repeat(9);
            let path = format!("/{word}/{began}x{thread}/{rest}");
            let request = Running {
                began: at(began).monotonic,
                method: b"GET".to_vec(),
                target: path.into_bytes(),
                is_cut: false,
                client: b"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".to_vec(),
                request_id: b"4bf92f3577b34da6a3ce929d0e0e4736".to_vec(),
                is_upgraded: false,
            };
            let call = Call {
                thread,
                ident: 0,
                request: Some(request),
            };
            (thread as usize, 1000 + thread, call)
        });
        let mut records = Vec::new();
        if second % 2 == 0 {
            records = recorder.scan(calls, at(second));
            slow += records.len();
        }
        // Large totals need the most bytes.
        observed.counters.totals.durations = [(1 << 40) + second; 19];
        observed.counters.totals.waits = [(1 << 40) + second; 19];
        observed.counters.totals.losses = [(1 << 40) + second; 6];
        observed.counters.totals.classes = [(1 << 40) + second; 5];
        records.extend(recorder.observe(observed.clone(), at(second)));
        for record in &records {
            history.append(record).unwrap();
        }
    }
    let kept = points(&history, 0);
    assert!(kept[0] < seconds - 3600, "only from second {} on", kept[0]);
    assert!(
        kept.iter().copied().eq(kept[0]..=seconds),
        "each of them once"
    );
    // Many, but not all of the 16 a second.
    assert!((3000..50_000).contains(&slow), "{slow}");
    let late = points(&history, START + (seconds - 10) * 1000);
    assert!(late[0] < seconds - 10 && late.len() < 80, "{late:?}");
    let reopened = History::open(history.log);
    assert_eq!(points(&reopened, 0), kept, "another process reads the same");
}

#[test]
fn what_is_no_record_is_left_out() {
    let log = log(HISTORY_PLAN);
    for bytes in [&b""[..], b"\x00", b"\x01", b"\xff\xff", b"\x02\x01"] {
        log.append(CHANNEL, b"", bytes, 0).unwrap();
    }
    assert_eq!(History::open(log).records(0).count(), 0);
}

#[test]
fn the_oldest_events_make_room_for_new_ones() {
    let events = EventLog::new(log(EVENTS_PLAN));
    assert_eq!(events.read(), []);
    let event = |number: u64| Event {
        at: Moment {
            monotonic: number * 1000,
            unix: START,
        },
        kind: EventKind::Log,
        level: Level::Error,
        worker: None,
        generation: 0,
        text: "x".repeat(5000),
    };
    for number in 1..=1000 {
        assert!(events.append(&event(number)));
    }
    let ids: Vec<u64> = events.read().iter().map(Event::id).collect();
    assert!((200..300).contains(&ids.len()), "{}", ids.len());
    assert!(ids.iter().copied().eq(1001 - ids.len() as u64..=1000));
}
