//! Words of a response store by name, and the blocks that hold its entries.
//!
//! A block is a number from 1; 0 is none. Its first words are links and are never content, so a reader that is late may
//! set [`Field::Used`] of a block that has another entry now. The content of an entry is in rows of four words, from the
//! first block on along [`Field::Link`].

#[cfg(all(test, not(loom)))]
pub(super) mod death;

#[cfg(all(test, loom))]
pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(all(test, loom)))]
pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::plan::ResponseStorePlan;

/// The words of the header. What readers load, what writers change and what both count are on cache lines of their own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Header {
    /// The signature of the plan; 0: a new store.
    Signature,
    HashKey,
    HashKey2,
    /// How many entries were taken out of their buckets: a reader that has found nothing looks again if it has changed.
    Unlinked = 8,
    /// Entries with a smaller id do not count any more.
    PurgedBefore,
    /// The epoch of the last purge of everything.
    EpochOfAll,
    /// Number of purges.
    Epoch,
    /// Not 0 while derived data change.
    Changing = 16,
    LastId,
    Entries,
    FreeBlock,
    FreeBlocks,
    /// Blocks up to this number have been used.
    UsedBlocks,
    Oldest,
    Newest,
    Hits = 24,
    Misses,
    /// Flights that have ended, and purges.
    Events,
    Flights,
    Collapsed,
    Stored = 32,
    Evicted,
    Purged,
    Refused,
    Recoveries,
    Corrupt,
}

pub(super) const HEADER_WORDS: usize = 40;
/// How many purges are remembered: an insert during which there were more is refused.
pub(super) const PURGES: usize = if cfg!(all(test, loom)) { 4 } else { 4096 };

/// The words at the start of a block. From [`Field::Hash`] on: of the first block of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    /// A number that no other entry has had; 0 in a block that is not the first one of an entry.
    Stamp,
    /// The next block of the entry, or of the free list.
    Link,
    /// Whether the entry was read since it was last looked at for eviction.
    Used,
    /// The next entry of the same bucket.
    Next,
    Hash,
    Older,
    Newer,
    Id,
    /// Bytes of the key; bytes of the metadata.
    Lengths,
    BodyLength,
    Tags,
    Expires,
    /// The checksum of all but the body, and that of all.
    HeadSum,
    BodySum,
    Blocks,
    LastBlock,
}

/// Words of a row.
pub(super) const ROW: usize = 4;
/// Words of a block. Short in a model, which has to try every order of loads.
pub(super) const BLOCK_WORDS: usize = if cfg!(all(test, loom)) { 20 } else { 128 };
/// Words before the content of a first block.
pub(super) const HEAD_WORDS: usize = 16;
/// Words before the content of another block.
const LINK_WORDS: usize = 4;
const ROWS_OF_BLOCK: usize = BLOCK_WORDS / ROW;
const FIRST_ROWS: usize = (BLOCK_WORDS - HEAD_WORDS) / ROW;
const OTHER_ROWS: usize = (BLOCK_WORDS - LINK_WORDS) / ROW;

/// How many rows these bytes need.
pub(super) fn rows_of(bytes: usize) -> usize {
    bytes.div_ceil(ROW * 8)
}

/// How many blocks an entry of this many rows needs.
pub(super) fn blocks_of(rows: usize) -> usize {
    1 + rows.saturating_sub(FIRST_ROWS).div_ceil(OTHER_ROWS)
}

/// The parts of the memory of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    header: &'static [AtomicU64],
    /// The hashes of the names that were purged last, in the order of their epochs, as a ring.
    purges: &'static [AtomicU64],
    /// For each bucket of tags its first node.
    tags: &'static [AtomicU64],
    /// For each bucket of keys its first entry.
    keys: &'static [AtomicU64],
    blocks: &'static [AtomicU64],
}

impl Memory {
    /// Divides the memory; `None` when it is too small.
    pub(super) fn new(words: &'static [AtomicU64], plan: &ResponseStorePlan) -> Option<Self> {
        let (header, words) = words.split_at_checked(HEADER_WORDS)?;
        let (purges, words) = words.split_at_checked(PURGES)?;
        let (tags, words) = words.split_at_checked(plan.buckets())?;
        let (keys, words) = words.split_at_checked(plan.buckets())?;
        Some(Self {
            header,
            purges,
            tags,
            keys,
            blocks: words.get(..plan.blocks() * BLOCK_WORDS)?,
        })
    }

    pub(super) fn get(&self, name: Header) -> u64 {
        let word = self.header.get(name as usize);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// A process that dies has made all stores of the program before this one.
    pub(super) fn set(&self, name: Header, value: u64) {
        if let Some(word) = self.header.get(name as usize) {
            put(word, value, Ordering::Release);
        }
    }

    /// Adds to a counter that is changed without the lock.
    pub(super) fn count(&self, name: Header) {
        if let Some(word) = self.header.get(name as usize) {
            word.fetch_add(1, Ordering::Release);
        }
    }

    /// Adds to a word that is changed with the lock only.
    pub(super) fn add(&self, name: Header, number: u64) {
        self.set(name, self.get(name).wrapping_add(number));
    }

    /// The words of a block; none if there is no such block.
    pub(super) fn block(&self, block: u64) -> &'static [AtomicU64] {
        let index = usize::try_from(block.wrapping_sub(1)).unwrap_or(usize::MAX);
        let start = index.checked_mul(BLOCK_WORDS);
        let words = start.and_then(|start| self.blocks.get(start..)?.get(..BLOCK_WORDS));
        words.unwrap_or_default()
    }

    pub(super) fn field(&self, block: u64, name: Field) -> u64 {
        let word = self.block(block).get(name as usize);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }

    pub(super) fn set_field(&self, block: u64, name: Field, value: u64) {
        if let Some(word) = self.block(block).get(name as usize) {
            put(word, value, Ordering::Release);
        }
    }

    /// The first entry of the bucket of this hash.
    pub(super) fn first_of_key(&self, hash: u64) -> u64 {
        load(self.keys, hash)
    }

    pub(super) fn set_first_of_key(&self, hash: u64, block: u64) {
        store(self.keys, hash, block);
    }

    /// The first node of the bucket of this hash.
    pub(super) fn first_of_tag(&self, hash: u64) -> u64 {
        load(self.tags, hash)
    }

    pub(super) fn set_first_of_tag(&self, hash: u64, node: u64) {
        store(self.tags, hash, node);
    }

    /// The hash of the name that was purged at this epoch, if that is not too long ago.
    pub(super) fn purged_at(&self, epoch: u64) -> u64 {
        load(self.purges, epoch)
    }

    pub(super) fn set_purged_at(&self, epoch: u64, hash: u64) {
        store(self.purges, epoch, hash);
    }

    /// Empties all buckets.
    pub(super) fn clear_buckets(&self) {
        for word in self.keys.iter().chain(self.tags) {
            put(word, 0, Ordering::Relaxed);
        }
    }

    /// The content of an entry.
    pub(super) fn rows(&self, first: u64) -> Rows {
        let words = self.block(first);
        Rows {
            memory: *self,
            next: self.field(first, Field::Link),
            words: words.get(HEAD_WORDS..).unwrap_or_default(),
        }
    }

    /// The numbers of the first rows of an entry, which are nodes of tags. A number is not 0.
    pub(super) fn nodes(&self, first: u64, number: usize) -> impl Iterator<Item = u64> + use<> {
        let memory = *self;
        let (mut block, mut row) = (first, HEAD_WORDS / ROW);
        (0..number).map_while(move |_| {
            if row == ROWS_OF_BLOCK {
                (block, row) = (memory.field(block, Field::Link), LINK_WORDS / ROW);
            }
            row += 1;
            let rows_before = block.checked_sub(1)?.checked_mul(ROWS_OF_BLOCK as u64)?;
            Some(rows_before + row as u64)
        })
    }

    /// The words of the row of this number; none if there is no such row.
    pub(super) fn node(&self, number: u64) -> &'static [AtomicU64] {
        let index = usize::try_from(number.wrapping_sub(1)).unwrap_or(usize::MAX);
        let start = index.checked_mul(ROW);
        let words = start.and_then(|start| self.blocks.get(start..)?.get(..ROW));
        words.unwrap_or_default()
    }
}

/// Every store to the memory with the lock held. In a test a process may die before any of them.
#[inline]
pub(super) fn put(word: &AtomicU64, value: u64, order: Ordering) {
    #[cfg(all(test, not(loom)))]
    death::die_if_due();
    word.store(value, order);
}

fn load(buckets: &[AtomicU64], hash: u64) -> u64 {
    let word = buckets.get(place(buckets, hash));
    word.map_or(0, |word| word.load(Ordering::Acquire))
}

fn store(buckets: &[AtomicU64], hash: u64, value: u64) {
    if let Some(word) = buckets.get(place(buckets, hash)) {
        put(word, value, Ordering::Release);
    }
}

/// The number of buckets is a power of two.
fn place(buckets: &[AtomicU64], hash: u64) -> usize {
    let place = hash & (buckets.len() as u64).wrapping_sub(1);
    usize::try_from(place).unwrap_or(0)
}

/// The rows of an entry that have not been taken yet.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    memory: Memory,
    next: u64,
    words: &'static [AtomicU64],
}

impl Rows {
    /// Takes whole rows, at most this many words; none at the end of the entry.
    pub(super) fn take(&mut self, words: usize) -> &'static [AtomicU64] {
        if self.words.is_empty() {
            let block = self.memory.block(self.next);
            self.words = block.get(LINK_WORDS..).unwrap_or_default();
            self.next = self.memory.field(self.next, Field::Link);
        }
        let (taken, rest) = self.words.split_at(words.min(self.words.len()));
        self.words = rest;
        taken
    }

    /// Passes over rows.
    pub(super) fn skip(&mut self, rows: usize) {
        let mut left = rows * ROW;
        while left > 0 {
            let taken = self.take(left).len();
            if taken == 0 {
                return;
            }
            left -= taken;
        }
    }
}
