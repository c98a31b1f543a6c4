//! What the recorder makes of running requests and counters, on a clock of its own.

use lockgate_observe::Running;
use lockgate_profile::{Activity, Frame, StackId, Stacks, ThreadSample};

use super::*;

const SLOW: u64 = SECOND;
const START: u64 = 1_790_000_000_000;

/// This many tenths of a second after the start.
fn at(tenths: u64) -> Moment {
    Moment {
        monotonic: 100 * SECOND + tenths * SECOND / 10,
        unix: START + tenths * 100,
    }
}

fn recorder() -> Recorder {
    Recorder::new(SLOW, at(0))
}

/// A request that began this many tenths of a second after the start, in a thread of worker 0.
fn call(thread: u64, began: u64, target: &str) -> (usize, u64, Call) {
    let request = Running {
        began: at(began).monotonic,
        method: b"GET".to_vec(),
        target: target.as_bytes().to_vec(),
        is_cut: false,
        client: b"::1".to_vec(),
        request_id: b"4bf9".to_vec(),
        is_upgraded: false,
    };
    let call = Call {
        thread,
        ident: 0,
        request: Some(request),
    };
    (0, 77, call)
}

fn slow_of(records: Vec<Record>) -> Vec<SlowRequest> {
    let slow = records.into_iter().map(|record| match record {
        Record::Slow(request) => request,
        other => panic!("{other:?}"),
    });
    slow.collect()
}

fn kinds(records: &[Record]) -> Vec<EventKind> {
    let events = records.iter().filter_map(|record| match record {
        Record::Event(event) => Some(event.kind),
        _ => None,
    });
    events.collect()
}

#[test]
fn a_slow_request_is_recorded_when_it_is_over() {
    let mut recorder = recorder();
    for tenths in 1..15 {
        let calls = [call(1, 0, "/orders/7"), call(2, tenths - 1, "/")];
        assert_eq!(recorder.scan(calls.into_iter(), at(tenths)), []);
        assert_eq!(recorder.slow_workers().is_empty(), tenths < 10, "{tenths}");
    }
    let (request,) = match &*recorder.slow_requests() {
        [request] => (request.clone(),),
        other => panic!("{other:?}"),
    };
    assert!(request.is_running && request.nanoseconds == 14 * SECOND / 10);
    // The same thread runs another request.
    let over = slow_of(recorder.scan([call(1, 14, "/")].into_iter(), at(15)));
    assert_eq!(over.len(), 1);
    let over = &over[0];
    assert_eq!((over.id, over.is_running), (request.id, false));
    assert_eq!(
        (over.label.as_str(), over.worker, over.thread),
        ("GET /orders/*", 0, 1)
    );
    assert_eq!((over.began, over.nanoseconds), (START, 14 * SECOND / 10));
    assert!(recorder.slow_requests().is_empty());
}

#[test]
fn time_belongs_to_the_label_of_the_request_that_ran() {
    let mut recorder = recorder();
    for tenths in 1..=20 {
        let quick = call(2, tenths - 1, &format!("/users/{tenths}"));
        recorder.scan([call(1, 0, "/report"), quick].into_iter(), at(tenths));
    }
    let seen = |nanoseconds, requests, slowest| PathUse {
        nanoseconds,
        requests,
        slowest,
    };
    let tenth = SECOND / 10;
    let expected = [
        ("GET /report", seen(20 * tenth, 1, 20 * tenth)),
        ("GET /users/*", seen(20 * tenth, 20, tenth)),
    ];
    assert_eq!(recorder.paths().sorted(), expected);
    // A recorder that was stopped for an hour does not know what ran meanwhile.
    recorder.scan([call(1, 0, "/report")].into_iter(), at(36_000));
    let (_, report) = recorder.paths().sorted()[0];
    assert_eq!(report.nanoseconds, 20 * tenth + SECOND);
}

#[test]
fn a_request_that_runs_for_long_is_recorded_again_and_again() {
    let mut recorder = recorder();
    let mut moments = Vec::new();
    for tenths in 1..1000 {
        let records = recorder.scan([call(1, 0, "/")].into_iter(), at(tenths));
        moments.extend(slow_of(records).iter().map(|request| {
            assert!(request.is_running);
            request.nanoseconds / SECOND
        }));
    }
    assert_eq!(moments, [10, 20, 40, 80]);
}

#[test]
fn a_connection_that_was_taken_over_is_no_slow_request() {
    let mut recorder = recorder();
    for tenths in 1..30 {
        let (slot, pid, mut call) = call(1, 0, "/chat");
        call.request.as_mut().unwrap().is_upgraded = true;
        recorder.scan([(slot, pid, call)].into_iter(), at(tenths));
    }
    assert!(recorder.slow_requests().is_empty() && recorder.paths().is_empty());
}

#[test]
fn a_sample_belongs_to_the_request_that_it_was_taken_of() {
    let mut recorder = recorder();
    for tenths in 1..15 {
        recorder.scan([call(1, 0, "/")].into_iter(), at(tenths));
    }
    let mut stacks = Stacks::default();
    let frame = Frame {
        function: "view".to_owned(),
        file: "/srv/app.py".to_owned(),
        line: 3,
    };
    let stack = stacks.push(StackId::EMPTY, &frame);
    let thread = |thread, began: u64| ThreadSample {
        thread,
        began: at(began).monotonic,
        activity: Activity::Running,
        stack,
    };
    let threads = vec![thread(1, 0), thread(1, 3), thread(2, 0)];
    let sample = Sample { stacks, threads };
    recorder.sample(0, &sample);
    recorder.sample(1, &sample);
    let request = &recorder.slow_requests()[0];
    assert_eq!((request.samples.len(), request.samples[0].count), (1, 1));
    assert_eq!(request.samples[0].frames, [frame]);
}

#[test]
fn counters_that_change_are_events() {
    let mut recorder = recorder();
    let mut observed = Observed::default();
    let mut found = Vec::new();
    for second in 0..=40 {
        let losses = &mut observed.counters.totals.losses;
        match second {
            // An overload of three seconds, with a pause that is too short for its end.
            5 | 6 | 14 => losses[Loss::QueueFull as usize] += 2,
            // Two minutes are needed before a limit is mentioned again.
            20 | 22 => observed.limits = vec![("login 5/min".to_owned(), second)],
            23 => observed.purged += 3,
            24 => observed.maintenance = Maintenance::On,
            25 => losses[Loss::ClientGone as usize] += 9,
            _ => {}
        }
        let records = recorder.observe(observed.clone(), at(10 * second));
        found.extend(kinds(&records).into_iter().map(|kind| (second, kind)));
        assert!(matches!(records[0], Record::Point(_)));
    }
    let expected = [
        (5, EventKind::OverloadBegun),
        (20, EventKind::RateLimited),
        (23, EventKind::CachePurged),
        (24, EventKind::OverloadEnded),
        (24, EventKind::Maintenance),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_clock_that_jumps_is_an_event_and_one_that_is_corrected_is_not() {
    for (by, expected) in [
        (0, None),
        (1_900, None),
        (-1_900, None),
        (
            3_600_000,
            Some("the clock is 3600.0 s ahead: it was set, or the machine was suspended"),
        ),
        (-30_000, Some("the clock was set back by 30.0 s")),
    ] {
        let mut recorder = recorder();
        assert_eq!(recorder.scan(std::iter::empty(), at(1)), []);
        let now = Moment {
            unix: at(2).unix.saturating_add_signed(by),
            ..at(2)
        };
        let records = recorder.scan(std::iter::empty(), now);
        let texts: Vec<&str> = (records.iter())
            .map(|record| match record {
                Record::Event(event) => event.text.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(texts, expected.into_iter().collect::<Vec<_>>());
    }
}
