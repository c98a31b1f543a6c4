//! Benchmarks of a response store of 64 MiB with 10,000 entries: reads, inserts, purges.
//!
//! `cargo bench -p lockgate-shm --bench responses`. Each figure is the fastest of several rounds, in nanoseconds per
//! operation.
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

use lockgate_shm::responses::{
    EntryBuffer, Flight, FlightOutcome, NewEntry, ResponseStore, ResponseStorePlan,
};

const ENTRIES: u64 = 10_000;
const META: [u8; 300] = [7; 300];

fn main() {
    for (name, size, keys) in [
        ("1 KiB", 1 << 10, ENTRIES),
        ("4 KiB", 4 << 10, ENTRIES),
        ("64 KiB", 64 << 10, 500),
        ("1 MiB", (1 << 20) - 1024, 30),
    ] {
        let (store, body) = (store(), vec![7; size]);
        let insert = |number: u64| insert(&store, &key(number % keys), &body, &[b"all"]);
        (0..keys).for_each(insert);
        let calls = (40_000_000 / (size as u64 + 2000)).min(20_000);
        measure(
            &format!("read a hit of {name}, always the same"),
            1,
            calls,
            |_, buffer| {
                store.read(black_box(&key(1)), buffer).unwrap();
            },
        );
        for threads in [1, 2] {
            let name = format!("read a hit of {name}, {threads} threads, {keys} entries");
            measure(&name, threads, calls, |number, buffer| {
                store
                    .read(black_box(&key(number * 7919 % keys)), buffer)
                    .unwrap();
            });
        }
        measure(
            &format!("read the metadata of {name}, {keys} entries"),
            1,
            calls,
            |number, buffer| {
                store
                    .read_meta(black_box(&key(number * 7919 % keys)), buffer)
                    .unwrap();
            },
        );
        measure(
            &format!("replace an entry of {name}"),
            1,
            calls,
            |number, _| insert(number),
        );
        assert_eq!(store.counts().evicted, 0);
    }
    let (store, body) = (store(), [7; 4 << 10]);
    measure(
        "insert 4 KiB in a full store, which evicts",
        1,
        20_000,
        |number, _| {
            insert(&store, &key(number), &body, &[b"all", b"a product"]);
        },
    );
    measure(
        "look for an entry that is not there",
        1,
        20_000,
        |number, buffer| {
            assert!(
                store
                    .read(black_box(&key(number + (1 << 40))), buffer)
                    .is_none()
            );
        },
    );
    measure("begin and end a flight", 1, 20_000, |number, _| {
        if let Flight::Leader(token) = store.begin_flight(&key(number), 1, number).unwrap() {
            store.end_flight(token, FlightOutcome::Stored);
        }
    });
    purge(
        "purge a tag of all 10,000 entries of 4 KiB",
        b"all",
        ENTRIES,
    );
    purge("purge a tag of 10 among 10,000 entries", b"few", 10);
    purge("purge a tag without entries", b"none", 0);
    purge("purge all 10,000 entries", b"", ENTRIES);
}

/// Prints the whole time of a purge.
fn purge(name: &str, tag: &[u8], expected: u64) {
    let (store, body) = (store(), [7; 4 << 10]);
    let mut best = f64::MAX;
    for _ in 0..10 {
        for number in 0..ENTRIES {
            let tags: &[&[u8]] = match number % 1000 {
                0 => &[b"all", b"few"],
                _ => &[b"all"],
            };
            insert(&store, &key(number), &body, tags);
        }
        let start = Instant::now();
        let removed = match tag {
            b"" => store.purge_all(),
            tag => store.purge_tag(tag),
        };
        best = best.min(start.elapsed().as_secs_f64() * 1e9);
        assert_eq!(removed, Ok(expected));
    }
    println!("{best:12.1} ns  {name}");
}

fn key(number: u64) -> Vec<u8> {
    format!("https://shop.example/products/{number}?page=1").into_bytes()
}

fn insert(store: &ResponseStore, key: &[u8], body: &[u8], tags: &[&[u8]]) {
    let entry = NewEntry {
        key,
        meta: &META,
        body,
        tags,
        expires: u64::MAX,
    };
    store.insert(black_box(&entry), store.epoch(), 1).unwrap();
}

fn store() -> ResponseStore {
    let plan = ResponseStorePlan {
        memory: 64 << 20,
        entry_limit: 1 << 20,
    };
    let lock_words = Vec::leak((0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect());
    let words = Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect());
    ResponseStore::new(lock_words, words, &plan, (1, 2)).unwrap()
}

fn measure(name: &str, threads: u64, calls: u64, call: impl Fn(u64, &mut EntryBuffer) + Sync) {
    let mut best = f64::MAX;
    for round in 0..20 {
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut buffer = EntryBuffer::default();
                    (0..calls).for_each(|number| call(number + round * calls, &mut buffer));
                });
            }
        });
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / (calls * threads) as f64);
    }
    println!("{best:12.1} ns  {name}");
}
