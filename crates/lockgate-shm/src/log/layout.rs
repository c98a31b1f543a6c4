//! Words of a log by name, and bytes in the words of its ring.
//!
//! A position counts words since the first record and never returns; its place in the ring is the remainder. A reader
//! may copy words that are being overwritten: the words are atomic, and [`super::ring`] checks the copy afterwards.

#[cfg(all(test, loom))]
pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(all(test, loom)))]
pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::plan::LogPlan;
use super::record::{HEAD_WORDS, RecordHead};
use crate::hash::word_of;

/// The words of the header. Those that every append writes are on cache lines of their own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Header {
    /// The signature of the plan; 0: a new log.
    Signature,
    HashKey,
    HashKey2,
    /// Position of the oldest record that is not overwritten.
    Oldest = 8,
    /// Position after the last record that is in its chains.
    Linked,
    /// Sequence number of the last record.
    Sequence,
    /// Position after the last record.
    Head = 16,
}

pub(super) const HEADER_WORDS: usize = 24;

/// What the records of a chain have in common: the bucket of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chain {
    /// The hash of the channel.
    Channel,
    /// The hash of the id within the channel. Records without an id are in no such chain.
    Id,
}

/// The parts of the memory of a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    header: &'static [AtomicU64],
    /// For each bucket of channels the position of its newest record, plus one; 0: none.
    channels: &'static [AtomicU64],
    /// The same for buckets of ids.
    ids: &'static [AtomicU64],
    ring: &'static [AtomicU64],
}

impl Memory {
    /// Divides the memory; `None` when it is too small.
    pub(super) fn new(words: &'static [AtomicU64], plan: LogPlan) -> Option<Self> {
        let (header, words) = words.split_at_checked(HEADER_WORDS)?;
        let (channels, words) = words.split_at_checked(plan.channel_buckets())?;
        let (ids, words) = words.split_at_checked(plan.id_buckets())?;
        Some(Self {
            header,
            channels,
            ids,
            ring: words.get(..plan.ring_words())?,
        })
    }

    /// Words of the ring.
    pub(super) fn capacity(&self) -> u64 {
        self.ring.len() as u64
    }

    pub(super) fn get(&self, name: Header) -> u64 {
        let word = self.header.get(name as usize);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// A process that dies has made all stores of the program before this one.
    pub(super) fn set(&self, name: Header, value: u64) {
        if let Some(word) = self.header.get(name as usize) {
            word.store(value, Ordering::Release);
        }
    }

    /// The newest record of the bucket of this hash: its position plus one; 0: none.
    pub(super) fn newest(&self, chain: Chain, hash: u64) -> u64 {
        let (buckets, index) = self.bucket(chain, hash);
        let word = buckets.get(index);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }

    pub(super) fn set_newest(&self, chain: Chain, hash: u64, value: u64) {
        let (buckets, index) = self.bucket(chain, hash);
        if let Some(word) = buckets.get(index) {
            word.store(value, Ordering::Release);
        }
    }

    /// The buckets of a chain, and the place of this hash among them.
    pub(super) fn bucket(&self, chain: Chain, hash: u64) -> (&'static [AtomicU64], usize) {
        let buckets = match chain {
            Chain::Channel => self.channels,
            Chain::Id => self.ids,
        };
        // The number of buckets is a power of two.
        let index = usize::try_from(hash & (buckets.len() as u64 - 1));
        (buckets, index.unwrap_or(0))
    }

    pub(super) fn head_at(&self, position: u64) -> RecordHead {
        let mut words = [0; HEAD_WORDS];
        let (first, second) = self.span(position, HEAD_WORDS);
        for (word, place) in words.iter_mut().zip(first.iter().chain(second)) {
            *word = place.load(Ordering::Relaxed);
        }
        RecordHead::from_words(words)
    }

    pub(super) fn write_head(&self, position: u64, head: &RecordHead) {
        let (first, second) = self.span(position, HEAD_WORDS);
        for (word, place) in head.to_words().into_iter().zip(first.iter().chain(second)) {
            place.store(word, Ordering::Relaxed);
        }
    }

    pub(super) fn write_bytes(&self, position: u64, bytes: &[u8]) {
        let (first, second) = self.span(position, bytes.len().div_ceil(8));
        let (before, after) = bytes.split_at(bytes.len().min(first.len() * 8));
        store_bytes(first, before);
        store_bytes(second, after);
    }

    /// Appends to `bytes`.
    pub(super) fn read_bytes(&self, position: u64, length: usize, bytes: &mut Vec<u8>) {
        let (first, second) = self.span(position, length.div_ceil(8));
        let start = bytes.len();
        bytes.resize(start + (first.len() + second.len()) * 8, 0);
        let (before, after) = bytes[start..].split_at_mut(first.len() * 8);
        load_bytes(first, before);
        load_bytes(second, after);
        bytes.truncate(start + length);
    }

    /// Whether these bytes are at a position.
    pub(super) fn has_bytes(&self, position: u64, bytes: &[u8]) -> bool {
        let (first, second) = self.span(position, bytes.len().div_ceil(8));
        let words = first.iter().chain(second);
        // The last word was filled up with zeros.
        (bytes.chunks(8).zip(words))
            .all(|(chunk, word)| word_of(chunk) == word.load(Ordering::Relaxed))
    }

    /// This many words from a position, up to the end of the ring and from its start.
    fn span(&self, position: u64, words: usize) -> (&'static [AtomicU64], &'static [AtomicU64]) {
        let start = usize::try_from(position % self.capacity()).unwrap_or(0);
        let (before, from) = self.ring.split_at(start);
        match from.split_at_checked(words) {
            Some((first, _)) => (first, &[]),
            None => (from, &before[..before.len().min(words - from.len())]),
        }
    }
}

fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    for (chunk, word) in bytes.chunks(8).zip(words) {
        let whole = chunk.try_into().map(u64::from_le_bytes);
        word.store(whole.unwrap_or_else(|_| word_of(chunk)), Ordering::Relaxed);
    }
}

fn load_bytes(words: &[AtomicU64], bytes: &mut [u8]) {
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
}
