//! An entry that is about to be written: what can be computed without the lock.

use super::checksum::Checksum;
use super::layout::{blocks_of, rows_of};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Draft<'a> {
    pub(super) hash: u64,
    pub(super) key: &'a [u8],
    pub(super) meta: &'a [u8],
    pub(super) body: &'a [u8],
    /// The hashes of its tags, each once.
    pub(super) tags: Vec<u64>,
    pub(super) expires: u64,
    pub(super) head_sum: u64,
    pub(super) body_sum: u64,
}

/// What the checksum of the head covers besides the key and the metadata.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) lengths: u64,
    pub(super) body: u64,
    pub(super) tags: u64,
    pub(super) expires: u64,
}

impl<'a> Draft<'a> {
    /// A draft of these parts; `seed` is the secret of the checksums.
    pub(super) fn new(
        (hash, seed): (u64, u64),
        (key, meta, body): (&'a [u8], &'a [u8], &'a [u8]),
        mut tags: Vec<u64>,
        expires: u64,
    ) -> Self {
        tags.sort_unstable();
        tags.dedup();
        let mut draft = Self {
            hash,
            key,
            meta,
            body,
            tags,
            expires,
            head_sum: 0,
            body_sum: 0,
        };
        let mut sum = draft.sizes().checksum(seed);
        sum.add_bytes(key);
        sum.add_bytes(meta);
        draft.head_sum = sum.finish();
        let mut sum = Checksum::new(draft.head_sum);
        sum.add_bytes(body);
        draft.body_sum = sum.finish();
        draft
    }

    pub(super) fn rows(&self) -> usize {
        let parts = [self.key, self.meta, self.body].map(|part| rows_of(part.len()));
        parts.into_iter().sum::<usize>() + self.tags.len()
    }

    pub(super) fn blocks(&self) -> usize {
        blocks_of(self.rows())
    }

    /// Both are less than 2^32.
    pub(super) fn lengths(&self) -> u64 {
        (self.key.len() as u64) << 32 | self.meta.len() as u64
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            lengths: self.lengths(),
            body: self.body.len() as u64,
            tags: self.tags.len() as u64,
            expires: self.expires,
        }
    }
}

impl Sizes {
    /// The checksum of a head with these sizes, to which its key and its metadata are to be added.
    pub(super) fn checksum(&self, seed: u64) -> Checksum {
        let mut sum = Checksum::new(seed);
        sum.add([self.lengths, self.body, self.tags, self.expires]);
        sum
    }
}
