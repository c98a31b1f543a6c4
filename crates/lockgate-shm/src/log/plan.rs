//! The plan of a log: its sizes, and from them the places of its parts in memory.

use super::layout::HEADER_WORDS;

/// The size of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlan {
    /// Bytes for records, with their headers of 56 bytes. The largest record has a quarter of it.
    pub size: usize,
    /// How many channels have a chain of their own; channels beyond this number share chains.
    pub channels: usize,
}

/// The lock, and the word on which readers wait, have cache lines of their own.
const LOCK_WORDS: usize = 16;
/// The word on which readers wait.
pub(super) const WAKE_WORD: usize = LOCK_WORDS;
/// A log has at least these words, so that a record fits.
const LEAST_RING_WORDS: usize = 64;

impl LogPlan {
    /// How many 32-bit words the lock and the waiting readers need.
    pub fn lock_words(&self) -> usize {
        2 * LOCK_WORDS
    }

    /// How many 64-bit words the log needs.
    pub fn words(&self) -> usize {
        HEADER_WORDS + self.buckets() + self.ring_words()
    }

    /// Differs for plans whose memory cannot be exchanged; never 0, which marks a new log.
    pub(super) fn signature(&self) -> u64 {
        let sizes = (self.ring_words() as u64, self.buckets() as u64);
        crate::hash::hash(sizes, &FORMAT.to_le_bytes()).max(1)
    }

    pub(super) fn buckets(&self) -> usize {
        self.channels.next_power_of_two()
    }

    pub(super) fn ring_words(&self) -> usize {
        self.size.div_ceil(8).max(LEAST_RING_WORDS)
    }

    /// Words of the largest record. A quarter: one record must not overwrite what all readers have yet to read.
    pub(super) fn longest(&self) -> usize {
        self.ring_words() / 4
    }
}

/// Changes when the layout of a log does.
const FORMAT: u64 = 1;
