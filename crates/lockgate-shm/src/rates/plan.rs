//! The plan of a table of rate limits: its sizes, and from them the places of its parts in memory.

use super::layout::{HEADER_WORDS, SET_WORDS};
use super::{in_flight, totals};

/// The size of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RatesPlan {
    /// Bytes of the table, of which a quarter is for what is in flight. A key needs 72 bytes for each of its rates.
    pub memory: usize,
    /// Slots of workers.
    pub workers: usize,
}

/// Changes when the layout does.
const FORMAT: u64 = 1;

impl RatesPlan {
    /// How many 64-bit words the table needs.
    pub fn words(&self) -> usize {
        HEADER_WORDS + totals::WORDS + self.entry_words() + self.in_flight_words()
    }

    /// Differs for plans whose memory cannot be exchanged; never 0, which marks a new table.
    pub(super) fn signature(&self) -> u64 {
        let sizes = (self.memory as u64, self.workers as u64);
        crate::hash::hash(sizes, &FORMAT.to_le_bytes()).max(1)
    }

    /// Sets of entries: the words of as many, and a bit for each, in whole cache lines.
    pub(super) fn sets(&self) -> usize {
        (self.memory / 4 * 3 / (SET_WORDS * 8)).max(1)
    }

    pub(super) fn entry_words(&self) -> usize {
        self.sets() * SET_WORDS + super::entries::dirty_words(self.sets())
    }

    /// Sets of rows of what is in flight.
    pub(super) fn row_sets(&self) -> usize {
        (self.memory / 4 / (in_flight::set_words(self.workers) * 8)).max(1)
    }

    pub(super) fn in_flight_words(&self) -> usize {
        in_flight::owner_words(self.workers) + self.row_sets() * in_flight::set_words(self.workers)
    }
}
