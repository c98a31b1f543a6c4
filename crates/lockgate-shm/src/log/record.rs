//! The head of a record. The bytes of the channel, the id and the record follow it, each from a word of its own.

use super::layout::Chain;

pub(super) const HEAD_WORDS: usize = 8;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub(super) sequence: u64,
    /// The moment that the writer has given.
    pub(super) time: u64,
    /// Its place among the records of its channel.
    pub(super) channel_link: Link,
    /// Its place among the records of its id. Without meaning if it has none.
    pub(super) id_link: Link,
    /// Bytes of the channel; fewer than 2^32.
    pub(super) channel: usize,
    /// Bytes of the id; fewer than 2^32.
    pub(super) id: usize,
    /// Bytes of the record.
    pub(super) record: usize,
}

/// The place of a record in a chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) hash: u64,
    /// The position of the record before it in the same bucket, plus one; 0: none.
    pub(super) previous: u64,
}

impl RecordHead {
    /// Any words are a head: a reader may copy those that are being overwritten.
    pub(super) fn from_words(words: [u64; HEAD_WORDS]) -> Self {
        let [sequence, time, a, b, c, d, names, record] = words;
        let link = |hash, previous| Link { hash, previous };
        let length = |word| usize::try_from(word).unwrap_or(usize::MAX);
        Self {
            sequence,
            time,
            channel_link: link(a, b),
            id_link: link(c, d),
            channel: length(names >> 32),
            id: length(names & u64::from(u32::MAX)),
            record: length(record),
        }
    }

    pub(super) fn to_words(self) -> [u64; HEAD_WORDS] {
        [
            self.sequence,
            self.time,
            self.channel_link.hash,
            self.channel_link.previous,
            self.id_link.hash,
            self.id_link.previous,
            (self.channel as u64) << 32 | self.id as u64,
            self.record as u64,
        ]
    }

    pub(super) fn link(&self, chain: Chain) -> Link {
        match chain {
            Chain::Channel => self.channel_link,
            Chain::Id => self.id_link,
        }
    }

    /// The chains that it is in.
    pub(super) fn chains(&self) -> &'static [Chain] {
        match self.id {
            0 => &[Chain::Channel],
            _ => &[Chain::Channel, Chain::Id],
        }
    }

    /// Words before the bytes of the id.
    pub(super) fn id_start(&self) -> usize {
        HEAD_WORDS.saturating_add(self.channel.div_ceil(8))
    }

    /// Words before the bytes of the record.
    pub(super) fn record_start(&self) -> usize {
        self.id_start().saturating_add(self.id.div_ceil(8))
    }

    /// All words.
    pub(super) fn words(&self) -> usize {
        self.record_start().saturating_add(self.record.div_ceil(8))
    }
}
