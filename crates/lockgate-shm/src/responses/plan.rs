//! The plan of a response store: its sizes, and from them the places of its parts in memory.

use super::flights::FLIGHT_WORDS;
use super::layout::{BLOCK_WORDS, HEADER_WORDS, PURGES};

/// The size of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseStorePlan {
    /// Bytes for entries, which have whole blocks of 1 KiB. What finds them needs about a fiftieth more.
    pub memory: usize,
    /// Bytes of the largest entry: key, metadata and body. It has at most a quarter of the memory.
    pub entry_limit: usize,
}

/// The locks, and the word on which threads wait, have cache lines of their own.
const LOCK_WORDS: usize = 16;
/// Changes when the layout of a store does.
const FORMAT: u64 = 2;

impl ResponseStorePlan {
    /// How many 32-bit words the locks and the waiting threads need.
    pub fn lock_words(&self) -> usize {
        3 * LOCK_WORDS
    }

    /// Which of these words is the lock of the flights.
    #[cfg(not(all(test, loom)))]
    pub(super) fn flight_lock_word(&self) -> usize {
        LOCK_WORDS
    }

    /// Which of these words threads wait on.
    #[cfg(not(all(test, loom)))]
    pub(super) fn wake_word(&self) -> usize {
        2 * LOCK_WORDS
    }

    /// How many 64-bit words the store needs.
    pub fn words(&self) -> usize {
        FLIGHT_WORDS + self.entry_words()
    }

    /// Words of all but the flights.
    pub(super) fn entry_words(&self) -> usize {
        HEADER_WORDS + PURGES + 2 * self.buckets() + self.blocks() * BLOCK_WORDS
    }

    /// Differs for plans whose memory cannot be exchanged; never 0, which marks a new store.
    pub(super) fn signature(&self) -> u64 {
        let sizes = (self.blocks() as u64, self.entry_limit as u64);
        crate::hash::hash(sizes, &FORMAT.to_le_bytes()).max(1)
    }

    pub(super) fn blocks(&self) -> usize {
        (self.memory / (BLOCK_WORDS * 8)).max(1)
    }

    /// Buckets of keys, and as many of tags.
    pub(super) fn buckets(&self) -> usize {
        self.blocks().next_power_of_two()
    }

    /// Blocks of the largest entry. A quarter: one entry must not evict all others.
    pub(super) fn most_blocks(&self) -> usize {
        (self.blocks() / 4).max(1)
    }
}
