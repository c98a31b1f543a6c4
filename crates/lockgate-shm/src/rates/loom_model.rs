//! A model of a count while another key takes the entry: all orders in which their loads and exchanges can be seen.
#![cfg(test)]

use super::entries::{Entries, dirty_words};
use super::gcra::{Decision, GcraRate, Tick};
use super::key::{KeyHash, RatedKey};
use super::layout::{AtomicU64, SET_WORDS, ShownKey};
use loom::thread;
use std::num::NonZeroU32;
use std::time::Duration;

const NOW: Tick = Tick(1 << 20);
/// The key that comes last. It is at its limit with its first request, and the others with the fifth one.
const NEW: u64 = 9;

/// All keys are in one set. Their marks differ.
fn key(number: u64) -> RatedKey {
    let burst = NonZeroU32::new(if number == NEW { 1 } else { 5 }).unwrap();
    RatedKey {
        hash: KeyHash::new(number << 52, 0),
        rate: GcraRate::new(burst, Duration::from_secs(60), burst),
        scope: 1,
        shown: ShownKey::Hash,
    }
}

fn count(entries: &Entries, number: u64, times: u32) {
    for _ in 0..times {
        assert_eq!(entries.count(&key(number), NOW, false).0, Decision::Allowed);
    }
}

#[test]
fn a_key_that_takes_the_entry_of_another_one_loses_no_count() {
    let mut model = loom::model::Builder::new();
    model.max_branches = 20_000;
    model.preemption_bound = Some(2);
    model.check(|| {
        let words = (0..SET_WORDS + dirty_words(1)).map(|_| AtomicU64::new(0));
        let entries = Entries::new(Vec::leak(words.collect()), 1);
        // The set is full. The first key has used the least of its burst, and the second one less than the others.
        count(&entries, 1, 1);
        count(&entries, 2, 3);
        (3..NEW).for_each(|number| count(&entries, number, 5));
        let other = thread::spawn(move || count(&entries, NEW, 1));
        // Its entry is taken away before this, after it or in between.
        count(&entries, 1, 1);
        other.join().unwrap();
        assert_ne!(entries.examine(&key(NEW), NOW), Decision::Allowed);
    });
}
