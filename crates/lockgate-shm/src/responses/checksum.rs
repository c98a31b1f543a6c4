//! A fast checksum of rows of words.
//!
//! It shows that memory was overwritten by a program that is not part of the server. Every other change of an entry
//! shows in its stamp.

use super::layout::ROW;
use crate::hash::word_of;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checksum {
    /// One for each word of a row: the processor multiplies them at once.
    lanes: [u64; ROW],
}

/// An odd number with about as many zeros as ones, from the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Checksum {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            lanes: [seed, !seed, seed.rotate_left(16), seed.rotate_left(32)],
        }
    }

    #[inline]
    pub(super) fn add(&mut self, row: [u64; ROW]) {
        for (lane, word) in self.lanes.iter_mut().zip(row) {
            // Each step can be reversed, so one word that differs always shows.
            *lane = (*lane ^ word).wrapping_mul(FACTOR).rotate_left(29);
        }
    }

    /// Adds bytes, filled up with zeros to whole rows.
    pub(super) fn add_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(ROW * 8) {
            self.add(row_of(chunk));
        }
    }

    pub(super) fn finish(&self) -> u64 {
        let mix = |sum: u64, lane: &u64| {
            let mixed = (sum ^ lane).wrapping_mul(FACTOR);
            mixed ^ (mixed >> 32)
        };
        self.lanes.iter().fold(0, mix)
    }
}

/// At most 32 bytes as a row.
#[inline]
pub(super) fn row_of(bytes: &[u8]) -> [u64; ROW] {
    let mut row = [0; ROW];
    for (word, chunk) in row.iter_mut().zip(bytes.chunks(8)) {
        *word = chunk
            .try_into()
            .map_or_else(|_| word_of(chunk), u64::from_le_bytes);
    }
    row
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_a_word_shows() {
        let sum = |seed: u64, bytes: &[u8]| {
            let mut checksum = Checksum::new(seed);
            checksum.add_bytes(bytes);
            checksum.finish()
        };
        let bytes: Vec<u8> = (0..100).collect();
        let whole = sum(1, &bytes);
        assert_eq!(sum(1, &bytes), whole);
        assert_ne!(sum(2, &bytes), whole);
        for place in 0..bytes.len() {
            let mut other = bytes.clone();
            other[place] ^= 1;
            assert_ne!(sum(1, &other), whole, "{place}");
            other[place] = bytes[(place + 8) % 100];
            assert_ne!(sum(1, &other), whole, "{place}");
        }
        // The two rows in the other order.
        assert_ne!(
            sum(1, &[&bytes[32..64], &bytes[..32]].concat()),
            sum(1, &bytes[..64])
        );
    }
}
