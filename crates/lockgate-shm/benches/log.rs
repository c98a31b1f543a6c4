//! Benchmarks of a log: appends, reads, and the search for the records after an id.
//!
//! `cargo bench -p lockgate-shm --bench log`. Each figure is the fastest of several rounds, in nanoseconds per operation.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs
)]

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::thread;
use std::time::Instant;

use lockgate_shm::{Log, LogPlan, Read};

const CALLS: u64 = 4000;
const RECORD: [u8; 200] = [7; 200];

fn main() {
    let log = log();
    let append = |number: u64| {
        let channel = (number % 1000).to_le_bytes();
        log.append(&channel, &number.to_le_bytes(), black_box(&RECORD), 1)
            .unwrap();
    };
    for threads in [1, 2, 4] {
        measure(
            &format!("append 200 bytes, {threads} threads"),
            threads,
            || (0..CALLS).for_each(append),
        );
    }
    let start = log.head();
    (0..CALLS).for_each(append);
    for threads in [1, 2, 4] {
        measure(
            &format!("read 200 bytes, {threads} threads"),
            threads,
            || {
                let (mut cursor, mut record) = (start, Vec::new());
                while let Read::Record { .. } = log.read(&mut cursor, &mut record) {
                    black_box(&record);
                }
            },
        );
    }
    measure("append and read 200 bytes", 1, || {
        let (mut cursor, mut record) = (log.head(), Vec::new());
        for number in 0..CALLS {
            append(number);
            black_box(log.read(&mut cursor, &mut record));
        }
    });
    (0..CALLS).for_each(append);
    measure("find the 3 records after an id", 1, || {
        for number in 0..CALLS {
            let channel = (number % 1000).to_le_bytes();
            let found = log.after(&channel, &(number % 1000).to_le_bytes());
            assert_eq!(found.unwrap().len(), 3);
        }
    });
}

fn log() -> Log {
    let plan = LogPlan {
        size: 8 << 20,
        channels: 1024,
    };
    let lock_words = Vec::leak((0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect());
    let words = Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect());
    Log::new(lock_words, words, plan, (1, 2)).unwrap()
}

fn measure(name: &str, threads: u64, round: impl Fn() + Sync) {
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
