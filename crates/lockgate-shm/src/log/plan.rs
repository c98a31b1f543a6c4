//! The plan of a log: its sizes, and from them the places of its parts in memory.

use super::layout::HEADER_WORDS;

/// The size of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlan {
    /// Bytes for records, with their heads of 64 bytes. The largest record has a quarter of it.
    pub size: usize,
    /// How many channels have a chain of their own; channels beyond this number share chains.
    pub channels: usize,
}

/// The lock, and the word on which readers wait, have cache lines of their own.
const LOCK_WORDS: usize = 16;
/// Words of records per bucket of ids: a record with a short content has about one.
const WORDS_PER_ID: usize = 32;
/// A log has at least these words, so that a record fits.
const LEAST_RING_WORDS: usize = 64;

impl LogPlan {
    /// How many 32-bit words the lock and the waiting readers need.
    pub fn lock_words(&self) -> usize {
        2 * LOCK_WORDS
    }

    /// Which of these words readers wait on.
    #[cfg(not(all(test, loom)))]
    pub(super) fn wake_word(&self) -> usize {
        LOCK_WORDS
    }

    /// How many 64-bit words the log needs.
    pub fn words(&self) -> usize {
        HEADER_WORDS + self.channel_buckets() + self.id_buckets() + self.ring_words()
    }

    /// Differs for plans whose memory cannot be exchanged; never 0, which marks a new log.
    pub(super) fn signature(&self) -> u64 {
        let sizes = (self.ring_words() as u64, self.channel_buckets() as u64);
        crate::hash::hash(sizes, &FORMAT.to_le_bytes()).max(1)
    }

    pub(super) fn channel_buckets(&self) -> usize {
        self.channels.next_power_of_two()
    }

    pub(super) fn id_buckets(&self) -> usize {
        (self.ring_words() / WORDS_PER_ID).next_power_of_two()
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
