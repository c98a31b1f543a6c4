//! Benchmarks of a full log of 16 MiB with 1,000 channels: appends, reads, and the search for the records after an id.
//!
//! `cargo bench -p lockgate-shm --bench log`. Each figure is the fastest of several rounds, in nanoseconds per operation.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs
)]

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_shm::{Cursor, Log, LogPlan, Read};

const CALLS: u64 = 4000;
const CHANNELS: u64 = 1000;
const RECORD: [u8; 200] = [7; 200];

fn main() {
    let log = log();
    let next = AtomicU64::new(0);
    let append = |_| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let channel = (number % CHANNELS).to_le_bytes();
        let id = number.to_le_bytes();
        log.append(&channel, &id, black_box(&RECORD), 1).unwrap();
    };
    // The log is full, and its memory is mapped.
    (0..100_000).for_each(append);
    for threads in [1, 2, 4] {
        measure(&format!("append, {threads} threads"), threads, append);
    }
    let start = log.head();
    (0..CALLS).for_each(append);
    for threads in [1, 2, 4] {
        measure_rounds(&format!("read, {threads} threads"), threads, || {
            let (mut cursor, mut record) = (start, Vec::new());
            while let Read::Record { .. } = log.read(&mut cursor, &mut record) {
                black_box(&record);
            }
        });
    }
    measure_rounds("append and read", 1, || {
        let (mut cursor, mut record) = (log.head(), Vec::new());
        for number in 0..CALLS {
            append(number);
            black_box(log.read(&mut cursor, &mut record));
        }
    });
    answer_each_other();
    let head = next.load(Ordering::Relaxed);
    for later in [0, 1, 10, 50] {
        measure(
            &format!("find and copy the {later} records after an id"),
            1,
            |number| {
                let number = head - 1 - number % CHANNELS - later * CHANNELS;
                let channel = (number % CHANNELS).to_le_bytes();
                let found = log.after(&channel, &number.to_le_bytes());
                assert_eq!(found.unwrap().len() as u64, later);
            },
        );
    }
    for (name, distance) in [
        ("an unknown id", u64::MAX / 2),
        ("an id that was overwritten", 90_000),
    ] {
        measure(&format!("look for {name}"), 1, |number| {
            let number = (head - number).wrapping_sub(distance);
            let channel = (number % CHANNELS).to_le_bytes();
            assert!(
                log.position_after(&channel, &number.to_le_bytes())
                    .is_none()
            );
        });
    }
    let oldest = log.oldest();
    measure(
        "find the positions of all 60 records of a channel",
        1,
        |number| {
            let channel = (number % CHANNELS).to_le_bytes();
            let found = log.positions_of(&channel, &oldest).unwrap();
            assert!((59..=60).contains(&found.len()), "{}", found.len());
        },
    );
}

/// Two threads wait for each other's records.
fn answer_each_other() {
    let (question, answer) = (log(), log());
    let (first, second) = (question.head(), answer.head());
    let take = |log: &Log, cursor: &mut Cursor| {
        let mut record = Vec::new();
        while log.read(cursor, &mut record) == Read::UpToDate {
            log.wait(cursor, Duration::from_secs(1));
        }
    };
    let append = |log: &Log| log.append(b"c", b"", black_box(&RECORD), 1).unwrap();
    let one_way = |began: Instant| began.elapsed().as_secs_f64() * 1e9 / (2 * CALLS) as f64;
    let best = (0..20).fold(
        (f64::MAX, first, second),
        |(best, mut first, mut second), _| {
            let began = Instant::now();
            thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..CALLS {
                        take(&question, &mut first);
                        append(&answer);
                    }
                });
                for _ in 0..CALLS {
                    append(&question);
                    take(&answer, &mut second);
                }
            });
            (best.min(one_way(began)), first, second)
        },
    );
    println!(
        "{:8.1} ns  append, until a thread that waits has read it",
        best.0
    );
}

fn log() -> Log {
    let plan = LogPlan {
        size: 16 << 20,
        channels: 1024,
    };
    let lock_words = Vec::leak((0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect());
    let words = Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect());
    Log::new(lock_words, words, plan, (1, 2)).unwrap()
}

fn measure(name: &str, threads: u64, call: impl Fn(u64) + Sync) {
    measure_rounds(name, threads, || (0..CALLS).for_each(&call));
}

fn measure_rounds(name: &str, threads: u64, round: impl Fn() + Sync) {
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(&round);
            }
        });
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / (CALLS * threads) as f64);
    }
    println!("{best:8.1} ns  {name}");
}
