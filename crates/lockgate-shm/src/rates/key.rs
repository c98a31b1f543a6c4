//! Keys of rate limits: hashes of who is counted, and of what counts them.

use super::gcra::GcraRate;
use super::layout::ShownKey;
use crate::hash::{hash, word_of};

/// The hash of a key and of what counts it, with the secret of the server (or of all servers that share counts).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash {
    /// Chooses the entry within a set; never 0.
    pub(super) tag: u64,
    /// Chooses the set.
    pub(super) place: u64,
}

/// One key under one rate.
#[derive(Debug, Clone, Copy)]
pub struct RatedKey {
    /// What it is found by.
    pub hash: KeyHash,
    /// How fast it may count.
    pub rate: GcraRate,
    /// Names the limit and the rate: see [`scope`].
    pub scope: u64,
    /// What operators see of the key.
    pub shown: ShownKey,
}

/// A number for what a limit counts by, such as its name and one of its rates: the same for every process, host and
/// version. Entries of another scope are other entries, so a limit that is changed begins with nothing counted.
pub fn scope(parts: &[&[u8]]) -> u64 {
    parts.iter().fold(1, |scope, part| hash((scope, 0), part))
}

impl KeyHash {
    /// As sixteen bytes, for other hosts.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let words = [self.tag.to_le_bytes(), self.place.to_le_bytes()];
        for (place, byte) in bytes.iter_mut().zip(words.iter().flatten()) {
            *place = *byte;
        }
        bytes
    }

    /// From those bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let (tag, place) = bytes.split_at(8);
        Self::new(word_of(tag), word_of(place))
    }

    pub(super) fn new(tag: u64, place: u64) -> Self {
        // 0 marks an entry that is free.
        Self {
            tag: tag.max(1),
            place,
        }
    }

    /// Tells keys apart, and not what they are.
    pub fn short(self) -> u32 {
        u32::try_from(self.tag >> 32).unwrap_or(0)
    }
}
