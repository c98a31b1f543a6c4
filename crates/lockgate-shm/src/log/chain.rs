//! The records of one channel or of one id: each record has the position of the one before it in the same bucket.

use std::iter;

use super::layout::{Chain, Header};
use super::record::{HEAD_WORDS, RecordHead};
use super::ring::{Cursor, Ring};

impl Ring {
    /// See [`super::Log::position_after`].
    pub(super) fn position_after(&self, channel: &[u8], id: &[u8]) -> Option<Cursor> {
        if id.is_empty() {
            return None;
        }
        let hash = self.id_hash(self.hash(channel), id);
        let oldest = self.memory.get(Header::Oldest);
        let mut records = self.chain(Chain::Id, hash, oldest);
        let (position, head) = records.find(|(position, head)| {
            let id_start = position.wrapping_add(head.id_start() as u64);
            self.is_of_channel(*position, head, channel)
                && head.id == id.len()
                && self.memory.has_bytes(id_start, id)
        })?;
        self.is_intact(position).then(|| Cursor {
            position: position.wrapping_add(head.words() as u64),
        })
    }

    /// See [`super::Log::positions_of`].
    pub(super) fn positions_of(&self, channel: &[u8], from: Cursor) -> Option<Vec<Cursor>> {
        let mut found: Vec<Cursor> =
            (self.chain(Chain::Channel, self.hash(channel), from.position))
                .filter(|(position, head)| self.is_of_channel(*position, head, channel))
                .map(|(position, _)| Cursor { position })
                .collect();
        found.reverse();
        // Then everything behind it was intact, too.
        self.is_intact(from.position).then_some(found)
    }

    /// The records with this hash, the newest first, back to a position. They count only if they are intact afterwards.
    fn chain(&self, chain: Chain, hash: u64, from: u64) -> impl Iterator<Item = (u64, RecordHead)> {
        let mut next = self.newest(chain, hash);
        // The records of a chain fit into the ring; only another program can have written one that does not end.
        let mut words_left = self.memory.capacity();
        let records = iter::from_fn(move || {
            let position = next.checked_sub(1).filter(|it| *it >= from)?;
            let head = self.head_at(position)?;
            words_left = words_left.checked_sub(head.words() as u64)?;
            next = head.link(chain).previous;
            Some((position, head))
        });
        records.filter(move |(_, head)| head.link(chain).hash == hash)
    }

    /// The newest record of the bucket of this hash: its position plus one; 0: none.
    fn newest(&self, chain: Chain, hash: u64) -> u64 {
        let head = self.memory.get(Header::Head);
        let linked = self.memory.get(Header::Linked);
        // One record may have been appended and not linked yet. The bucket is read after it, so it cannot lack two.
        let unlinked = (linked < head).then(|| self.head_at(linked)).flatten();
        let is_of_bucket = unlinked.is_some_and(|found| {
            let bucket = |hash| self.memory.bucket(chain, hash).1;
            found.chains().contains(&chain)
                && bucket(found.link(chain).hash) == bucket(hash)
                && self.is_intact(linked)
        });
        let newest = self.memory.newest(chain, hash);
        match is_of_bucket {
            true => newest.max(linked.wrapping_add(1)),
            false => newest,
        }
    }

    fn is_of_channel(&self, position: u64, head: &RecordHead, channel: &[u8]) -> bool {
        let start = position.wrapping_add(HEAD_WORDS as u64);
        head.channel == channel.len() && self.memory.has_bytes(start, channel)
    }
}
