//! What hosts exchange: each of them what it has counted, and all together how much of a rate is used.

use super::entries::Entries;
use super::gcra::{GcraRate, Tick};
use super::key::KeyHash;
use super::layout::Field;

/// Requests of one key under one rate that this host has counted. All hosts need the same secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Names the key, the limit and the rate.
    pub key: KeyHash,
    /// The rate.
    pub rate: GcraRate,
    /// How many were counted.
    pub count: u64,
    /// Nanoseconds until all that is known to be counted is paid off.
    pub owed: u64,
}

impl Entries {
    /// Whether an entry was given or not, a set is looked at again only after another count in it.
    pub(super) fn take_local(&self, most: usize, now: Tick, into: &mut Vec<Counted>) -> usize {
        let before = into.len();
        for word in 0..self.dirty.len() {
            // Looked at first: most words are 0, and an exchange would take their cache lines from the workers.
            let mut sets = self.take_dirty(word);
            while sets != 0 {
                let set = word * 64 + usize::try_from(sets.trailing_zeros()).unwrap_or(0);
                sets &= sets - 1;
                self.take_set(set, now, into);
            }
            if into.len() - before >= most {
                break;
            }
        }
        into.len() - before
    }

    fn take_set(&self, set: usize, now: Tick, into: &mut Vec<Counted>) {
        for entry in self.entries_of(set) {
            let count = entry.take_pending();
            let rate = GcraRate::from_bits(entry.get(Field::Rate));
            if let (1.., Some(rate)) = (count, rate) {
                into.push(Counted {
                    key: KeyHash::new(entry.tag, entry.get(Field::Place)),
                    rate,
                    count,
                    owed: entry.arrival().since(now).nanos(),
                });
            }
        }
    }

    pub(super) fn raise(&self, counted: &Counted, owed: Tick, now: Tick) {
        // A key that was forgotten meanwhile has room for another one.
        if let Some(entry) = self.find(counted.key) {
            let pending = entry.value(Field::Pending);
            let next = |arrival| counted.rate.raised(arrival, owed, pending, now);
            let _raised = entry.change_arrival(next);
        }
    }
}
