//! Words of a table by name, and bytes in words. References to items and blocks are numbers from 1; 0 means none.
//!
//! A place outside the memory reads as 0 and is not written: nothing that another process has left can end this one.

use std::sync::atomic::Ordering;

use super::Table;
use super::plan::ITEM_WORDS;
use crate::hash::word_of;

/// The words of the header.
#[derive(Debug, Clone, Copy)]
pub(super) enum Header {
    /// 1 while a process changes derived data.
    Changing,
    /// The last stamp.
    Stamp,
    /// Entries.
    Count,
    /// Slots that were ever used: beyond them the memory is still zero.
    UsedSlots,
    /// First slot of the free list.
    FreeSlot,
    /// Blocks that were ever used.
    UsedBlocks,
    /// First block of the free list.
    FreeBlock,
    /// Length of the free list of blocks.
    FreeBlocks,
    /// The entry that was not used for the longest time.
    Oldest,
    /// The entry that was used last.
    Newest,
    /// No entry expires before this moment; 0: none expires.
    Earliest,
    HashKey,
    HashKey2,
    Hits,
    Misses,
    Full,
    Recoveries,
}

/// The words of an item.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item {
    /// 0: the item does not count.
    Stamp,
    KeyLength,
    ValueLength,
    FirstBlock,
    Expires,
    Hash,
    /// The next one of its bucket, or of the free list.
    Next,
    /// The one that was used just before it.
    Older,
    /// The one that was used just after it.
    Newer,
    /// A stamp of its last use.
    Used,
}

impl Table {
    pub(super) fn word(&self, place: usize) -> u64 {
        self.words
            .get(place)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    pub(super) fn store(&self, place: usize, value: u64) {
        if let Some(word) = self.words.get(place) {
            word.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn get_header(&self, name: Header) -> u64 {
        self.word(name as usize)
    }

    pub(super) fn set(&self, name: Header, value: u64) {
        self.store(name as usize, value);
    }

    pub(super) fn increment(&self, name: Header) {
        self.set(name, self.get_header(name).wrapping_add(1));
    }

    pub(super) fn decrement(&self, name: Header) {
        self.set(name, self.get_header(name).saturating_sub(1));
    }

    pub(super) fn place(&self, item: usize, name: Item) -> usize {
        match item < self.plan.slots() {
            true => self.plan.items_start() + item * ITEM_WORDS + name as usize,
            false => usize::MAX,
        }
    }

    pub(super) fn field(&self, item: usize, name: Item) -> u64 {
        self.word(self.place(item, name))
    }

    pub(super) fn set_field(&self, item: usize, name: Item, value: u64) {
        self.store(self.place(item, name), value);
    }

    /// The place of the bucket of this hash.
    pub(super) fn bucket(&self, hash: u64) -> usize {
        // The number of buckets is a power of two.
        let index = usize::try_from(hash & (self.plan.buckets() as u64 - 1)).unwrap_or(0);
        self.plan.buckets_start() + index
    }

    /// The place of the first word of this block.
    pub(super) fn block_start(&self, block: u64) -> usize {
        match usize::try_from(block) {
            Ok(block) if (1..=self.plan.physical_blocks()).contains(&block) => {
                self.plan.blocks_start() + (block - 1) * self.plan.block_words()
            }
            _ => usize::MAX,
        }
    }

    /// The place of the number of the block after this one.
    pub(super) fn chain(&self, block: u64) -> usize {
        match usize::try_from(block) {
            Ok(block) if (1..=self.plan.physical_blocks()).contains(&block) => {
                self.plan.chains_start() + block - 1
            }
            _ => usize::MAX,
        }
    }

    pub(super) fn next_stamp(&self) -> u64 {
        self.increment(Header::Stamp);
        self.get_header(Header::Stamp)
    }

    pub(super) fn used_slots(&self) -> usize {
        let used = usize::try_from(self.get_header(Header::UsedSlots)).unwrap_or(usize::MAX);
        used.min(self.plan.slots())
    }

    fn key_start(&self, item: usize) -> usize {
        match item < self.plan.slots() {
            true => self.plan.keys_start() + item * self.plan.key_words(),
            false => usize::MAX,
        }
    }

    pub(super) fn key_length(&self, item: usize) -> usize {
        let length = usize::try_from(self.field(item, Item::KeyLength)).unwrap_or(0);
        length.min(self.plan.key_size)
    }

    pub(super) fn has_key(&self, item: usize, key: &[u8]) -> bool {
        self.key_length(item) == key.len() && {
            let mut places = self.key_start(item)..;
            let mut words = key.chunks(8);
            words.all(|chunk| places.next().map(|place| self.word(place)) == Some(word_of(chunk)))
        }
    }

    pub(super) fn read_key(&self, item: usize) -> Vec<u8> {
        let mut key = Vec::new();
        self.read_bytes(self.key_start(item), self.key_length(item), &mut key);
        key
    }

    pub(super) fn write_key(&self, item: usize, key: &[u8]) {
        self.write_bytes(self.key_start(item), key);
    }

    pub(super) fn write_bytes(&self, start: usize, bytes: &[u8]) {
        let words = self.words.get(start..).unwrap_or_default();
        let chunks = bytes.chunks_exact(8);
        let rest = chunks.remainder();
        let mut words = words.iter();
        for (chunk, word) in chunks.zip(&mut words) {
            word.store(word_of(chunk), Ordering::Relaxed);
        }
        if let (false, Some(word)) = (rest.is_empty(), words.next()) {
            word.store(word_of(rest), Ordering::Relaxed);
        }
    }

    pub(super) fn read_bytes(&self, start: usize, length: usize, bytes: &mut Vec<u8>) {
        let words = self.words.get(start..).unwrap_or_default();
        let end = bytes.len() + length;
        for word in words.iter().take(length.div_ceil(8)) {
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        bytes.truncate(end);
    }
}
