//! The plan of a table: its sizes, and from them the places of its parts in memory.

/// The size of a table and its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePlan {
    /// Maximum number of entries.
    pub items: usize,
    /// Number of blocks for values.
    pub blocks: usize,
    /// Bytes of a block.
    pub block_size: usize,
    /// Longest key in bytes.
    pub key_size: usize,
    /// Whether a value may occupy several blocks.
    pub spans_blocks: bool,
    /// What happens to a new entry when the table is full.
    pub when_full: WhenFull,
    /// The number to which the first operation on a missing entry is applied.
    pub initial_number: i64,
}

/// What happens to a new entry when the table is full and nothing has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It is refused.
    Refuse,
    /// The entry that was not used for the longest time goes.
    Evict,
    /// All entries go.
    Clear,
}

/// Words of a cache line.
const LINE: usize = 8;
pub(super) const HEADER_WORDS: usize = 3 * LINE;
pub(super) const ITEM_WORDS: usize = 12;

impl CachePlan {
    /// Words of memory for the table.
    pub fn words(&self) -> usize {
        (self.blocks_start() + self.physical_blocks() * self.block_words()).next_multiple_of(LINE)
    }

    /// A number that differs for plans with another layout.
    pub(crate) fn signature(&self) -> u64 {
        let parts = [self.items, self.blocks, self.block_size, self.key_size];
        // The order of use exists only where it decides which entry goes.
        let keeps_order = u64::from(self.when_full == WhenFull::Evict);
        let bytes: Vec<u8> = (parts.into_iter())
            .flat_map(|part| (part as u64).to_le_bytes())
            .collect();
        crate::hash::hash((u64::from(self.spans_blocks), keeps_order), &bytes)
    }

    /// Places for items: one more than entries, so that an entry is replaced by a whole one.
    pub(super) fn slots(&self) -> usize {
        self.items + 1
    }

    pub(super) fn physical_blocks(&self) -> usize {
        self.blocks + 1
    }

    pub(super) fn longest_value(&self) -> usize {
        match self.spans_blocks {
            true => self.block_size.saturating_mul(self.blocks),
            false => self.block_size,
        }
    }

    /// How many blocks a value of this length occupies.
    pub(super) fn blocks_of(&self, length: usize) -> usize {
        length.div_ceil(self.block_size)
    }

    pub(super) fn key_words(&self) -> usize {
        self.key_size.div_ceil(8)
    }

    pub(super) fn block_words(&self) -> usize {
        self.block_size.div_ceil(8)
    }

    pub(super) fn buckets(&self) -> usize {
        self.items.next_power_of_two()
    }

    pub(super) fn buckets_start(&self) -> usize {
        HEADER_WORDS
    }

    pub(super) fn items_start(&self) -> usize {
        self.buckets_start() + self.buckets()
    }

    pub(super) fn keys_start(&self) -> usize {
        self.items_start() + self.slots() * ITEM_WORDS
    }

    /// For each block the number of the next one of the same value, or on the free list.
    pub(super) fn chains_start(&self) -> usize {
        self.keys_start() + self.slots() * self.key_words()
    }

    pub(super) fn blocks_start(&self) -> usize {
        self.chains_start() + self.physical_blocks()
    }
}
