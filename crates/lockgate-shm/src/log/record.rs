//! The head of a record. The bytes of the channel, the id and the record follow it, each from a word of its own.

pub(super) const HEAD_WORDS: usize = 7;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub(super) sequence: u64,
    /// The moment that the writer has given.
    pub(super) time: u64,
    /// The hash of the channel.
    pub(super) hash: u64,
    /// The position of the record before it in the chain of its bucket, plus one; 0: none.
    pub(super) previous: u64,
    /// Bytes of the channel.
    pub(super) channel: usize,
    /// Bytes of the id.
    pub(super) id: usize,
    /// Bytes of the record.
    pub(super) record: usize,
}

impl RecordHead {
    /// Any words are a head: a reader may copy those that are being overwritten.
    pub(super) fn from_words(words: [u64; HEAD_WORDS]) -> Self {
        let [sequence, time, hash, previous, channel, id, record] = words;
        let length = |word| usize::try_from(word).unwrap_or(usize::MAX);
        Self {
            sequence,
            time,
            hash,
            previous,
            channel: length(channel),
            id: length(id),
            record: length(record),
        }
    }

    pub(super) fn to_words(self) -> [u64; HEAD_WORDS] {
        [
            self.sequence,
            self.time,
            self.hash,
            self.previous,
            self.channel as u64,
            self.id as u64,
            self.record as u64,
        ]
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
