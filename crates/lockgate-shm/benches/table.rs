//! Benchmarks of a cache: reads and writes of one thread, and of several that share it.
//!
//! `cargo bench -p lockgate-shm`. Each figure is the fastest of several rounds, in nanoseconds per operation.
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

use lockgate_shm::{Cache, CachePlan, Lock, Operation, Table, WhenFull};

const KEYS: u64 = 1000;

fn main() {
    for size in [16, 1000, 60_000] {
        let cache = cache(WhenFull::Refuse);
        let value = vec![7; size];
        measure(&format!("replace a value of {size} bytes"), 1, |key| {
            let table = cache.lock().unwrap();
            table.replace(black_box(&key), &value, 0, 1).unwrap();
        });
        measure(&format!("get a value of {size} bytes"), 1, |key| {
            black_box(cache.lock().unwrap().get(black_box(&key), 1));
        });
    }
    let cache = cache(WhenFull::Evict);
    measure("replace in a full cache that evicts", 1, |key| {
        let key = u64::from_le_bytes(key).wrapping_mul(7919).to_le_bytes();
        let table = cache.lock().unwrap();
        table.replace(&key, &[1; 100], 0, 1).unwrap();
    });
    measure("add to a number", 1, |_| {
        let table = cache.lock().unwrap();
        table.calculate(b"n", (Operation::Add, 1), 0, 1).unwrap();
    });
    for threads in [2, 4] {
        measure(
            &format!("get by {threads} threads at once"),
            threads,
            |key| {
                black_box(cache.lock().unwrap().get(black_box(&key), 1));
            },
        );
    }
}

fn cache(when_full: WhenFull) -> Cache {
    let plan = CachePlan {
        items: 1000,
        blocks: 1000,
        block_size: 65_536,
        key_size: 64,
        spans_blocks: false,
        when_full,
        initial_number: 0,
    };
    let words = Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect());
    let word: &'static AtomicU32 = Box::leak(Box::default());
    Cache::new(Table::new(words, plan).unwrap(), Lock::new(word))
}

fn measure(name: &str, threads: u64, call: impl Fn([u8; 8]) + Sync) {
    const CALLS: u64 = 4000;
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    (0..CALLS).for_each(|call_number| call((call_number % KEYS).to_le_bytes()))
                });
            }
        });
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / (CALLS * threads) as f64);
    }
    println!("{best:8.1} ns  {name}");
}
