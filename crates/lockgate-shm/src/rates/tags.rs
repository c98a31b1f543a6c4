//! The tags of a set: which key each of its places has, and how a place becomes another key's.

use std::sync::atomic::{AtomicU64, Ordering};

/// The place of the key with this tag.
#[inline]
pub(super) fn find(tags: &[AtomicU64], tag: u64) -> Option<usize> {
    let mut all = tags.iter();
    all.position(|word| word.load(Ordering::SeqCst) == tag)
}

/// Makes a place that had the tag `old` the place of `tag`. False if another process was faster: it has changed the
/// place, or has made another one the key's. The caller looks again.
///
/// If a process dies between the two steps, a key can have two places, of which all processes find the first.
pub(super) fn claim(tags: &[AtomicU64], place: usize, old: u64, tag: u64) -> bool {
    let Some(word) = tags.get(place) else {
        return false;
    };
    let change = |from, to| word.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
    if change(old, tag).is_err() {
        return false;
    }
    // All of this is in one order, so of two processes that claim two places for one key at least one sees the other.
    let mut others = tags.iter().enumerate();
    let is_doubled =
        others.any(|(other, word)| other != place && word.load(Ordering::SeqCst) == tag);
    if is_doubled {
        let _withdrawn = change(tag, 0);
    }
    !is_doubled
}

/// The set of this hash among `sets`.
#[inline]
pub(super) fn set_of(hash: u64, sets: usize) -> usize {
    let set = (u128::from(hash) * sets as u128) >> 64;
    usize::try_from(set).unwrap_or(0)
}
