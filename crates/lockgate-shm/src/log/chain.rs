//! The records of one channel: each record has the position of the one before it in the same bucket.

use super::layout::Header;
use super::record::{HEAD_WORDS, RecordHead};
use super::ring::Ring;

/// A record of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its sequence number.
    pub sequence: u64,
    /// The moment that its writer has given.
    pub time: u64,
    /// Its id; empty: none.
    pub id: Vec<u8>,
    /// Its content.
    pub record: Vec<u8>,
}

impl Ring {
    /// See [`super::Log::after`].
    pub(super) fn after(&self, channel: &[u8], id: &[u8]) -> Option<Vec<Found>> {
        if id.is_empty() {
            return None;
        }
        let hash = self.hash(channel);
        let mut records = Vec::new();
        let mut next = self.newest(hash);
        loop {
            let position = next.checked_sub(1)?;
            let head = self.head_at(position)?;
            let found = match head.hash == hash {
                true => self.copy(position, &head, channel),
                false => None,
            };
            if !self.is_intact(position) {
                return None;
            }
            match found {
                Some(found) if found.id == id => {
                    records.reverse();
                    return Some(records);
                }
                Some(found) => records.push(found),
                None => {}
            }
            // A chain leads backwards; only another program can have written one that does not.
            next = Some(head.previous).filter(|previous| *previous <= position)?;
        }
    }

    /// The newest record of the bucket of this hash: its position plus one; 0: none.
    fn newest(&self, hash: u64) -> u64 {
        let head = self.memory.get(Header::Head);
        let linked = self.memory.get(Header::Linked);
        // One record may have been appended and not linked yet. The bucket is read after it, so it cannot lack two.
        let unlinked = match linked < head {
            true => self.head_at(linked).filter(|found| {
                let is_of_bucket =
                    self.memory.bucket_index(found.hash) == self.memory.bucket_index(hash);
                is_of_bucket && self.is_intact(linked)
            }),
            false => None,
        };
        let bucket = self.memory.bucket(hash);
        match unlinked {
            Some(_) => bucket.max(linked.wrapping_add(1)),
            None => bucket,
        }
    }

    /// A copy of the record if it is of this channel. It counts only if the record is intact afterwards.
    fn copy(&self, position: u64, head: &RecordHead, channel: &[u8]) -> Option<Found> {
        let bytes_at = |start: usize, length| {
            let mut bytes = Vec::new();
            let start = position.wrapping_add(start as u64);
            self.memory.read_bytes(start, length, &mut bytes);
            bytes
        };
        (bytes_at(HEAD_WORDS, head.channel) == channel).then(|| Found {
            sequence: head.sequence,
            time: head.time,
            id: bytes_at(head.id_start(), head.id),
            record: bytes_at(head.record_start(), head.record),
        })
    }
}
