//! What hosts tell each other: what each of them has counted.

use super::entries::Entries;
use super::gcra::{GcraRate, Tick};
use super::layout::{Field, ShownKey};
use super::{KeyHash, RatedKey};

/// Requests of one key under one rate that a host has counted. All hosts need the same secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Names the key, the limit and the rate.
    pub key: KeyHash,
    /// The rate.
    pub rate: GcraRate,
    /// How many were counted.
    pub count: u64,
}

impl Entries {
    /// Whether an entry was given or not, a set is looked at again only after another count in it.
    pub(super) fn take_local(&self, most: usize, into: &mut Vec<Counted>) -> usize {
        let before = into.len();
        for word in 0..self.dirty.len() {
            // Looked at first: most words are 0, and an exchange would take their cache lines from the workers.
            let mut sets = self.take_dirty(word);
            while sets != 0 {
                let set = word * 64 + usize::try_from(sets.trailing_zeros()).unwrap_or(0);
                sets &= sets - 1;
                self.take_set(set, into);
            }
            if into.len() - before >= most {
                break;
            }
        }
        into.len() - before
    }

    fn take_set(&self, set: usize, into: &mut Vec<Counted>) {
        for entry in self.entries_of(set) {
            let count = entry.take_pending();
            let rate = GcraRate::from_bits(entry.get(Field::Rate));
            if let (1.., Some(rate)) = (count, rate) {
                into.push(Counted {
                    key: KeyHash::new(entry.tag, entry.get(Field::Place)),
                    rate,
                    count,
                });
            }
        }
    }

    /// Returns whether another key was forgotten that still owed something.
    pub(super) fn add_remote(&self, counted: &Counted, now: Tick) -> bool {
        let (entry, has_evicted) = self.find_or_claim(counted.key, now);
        if let Some(entry) = entry {
            // What the key is, no host tells: a refusal here will say it.
            entry.describe_if_new(&RatedKey {
                hash: counted.key,
                rate: counted.rate,
                scope: 0,
                shown: ShownKey::Hash,
            });
            let next = |arrival| Some(counted.rate.after(arrival, counted.count, now));
            let _counted = entry.change_arrival(next);
        }
        has_evicted
    }
}
