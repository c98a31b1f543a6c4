//! Slots and blocks of a table: taken from the free list, or from the memory that was never used.

use super::Table;
use super::layout::{Header, Item};

impl Table {
    /// A slot for an item; `None` when all are used.
    pub(super) fn take_item(&self) -> Option<usize> {
        let free = self.get_header(Header::FreeSlot);
        if let Some(item) = usize::try_from(free).ok()?.checked_sub(1) {
            self.set(Header::FreeSlot, self.field(item, Item::Next));
            return Some(item);
        }
        let item = self.used_slots();
        (item < self.plan.slots()).then(|| {
            self.increment(Header::UsedSlots);
            item
        })
    }

    /// How many blocks are free.
    pub(super) fn free_blocks(&self) -> usize {
        let used = self.get_header(Header::UsedBlocks);
        let unused = (self.plan.physical_blocks() as u64).saturating_sub(used);
        usize::try_from(unused + self.get_header(Header::FreeBlocks)).unwrap_or(usize::MAX)
    }

    /// Takes this many blocks, as a chain; returns the first. The caller has checked that they are free.
    pub(super) fn take_blocks(&self, count: usize) -> u64 {
        let mut first = 0;
        for _ in 0..count {
            let block = self.take_block();
            self.store(self.chain(block), first);
            first = block;
        }
        first
    }

    fn take_block(&self) -> u64 {
        let free = self.get_header(Header::FreeBlock);
        if free != 0 {
            self.set(Header::FreeBlock, self.word(self.chain(free)));
            self.decrement(Header::FreeBlocks);
            return free;
        }
        self.increment(Header::UsedBlocks);
        self.get_header(Header::UsedBlocks)
    }

    /// How many blocks the value of this item occupies.
    pub(super) fn blocks_of_item(&self, item: usize) -> usize {
        let length = self.field(item, Item::ValueLength);
        self.plan
            .blocks_of(usize::try_from(length).unwrap_or(usize::MAX))
            .min(self.plan.physical_blocks())
    }

    /// The blocks of an item, in order.
    pub(super) fn chain_of(&self, item: usize) -> impl Iterator<Item = u64> + '_ {
        let mut next = self.field(item, Item::FirstBlock);
        (0..self.blocks_of_item(item)).map_while(move |_| {
            let block = next;
            next = self.word(self.chain(block));
            (block != 0).then_some(block)
        })
    }

    /// Frees the slot and the blocks of an item that does not count any more.
    pub(super) fn give_back(&self, item: usize) {
        let mut next = self.field(item, Item::FirstBlock);
        for _ in 0..self.blocks_of_item(item) {
            let block = next;
            next = self.word(self.chain(block));
            self.free_block(block);
        }
        self.free_slot(item);
    }

    pub(super) fn free_block(&self, block: u64) {
        self.store(self.chain(block), self.get_header(Header::FreeBlock));
        self.set(Header::FreeBlock, block);
        self.increment(Header::FreeBlocks);
    }

    pub(super) fn free_slot(&self, item: usize) {
        self.set_field(item, Item::Next, self.get_header(Header::FreeSlot));
        self.set(Header::FreeSlot, item as u64 + 1);
    }

    pub(super) fn write_value(&self, first: u64, value: &[u8]) {
        let mut block = first;
        for piece in value.chunks(self.plan.block_size) {
            self.write_bytes(self.block_start(block), piece);
            block = self.word(self.chain(block));
        }
    }

    pub(super) fn read_value(&self, item: usize) -> Vec<u8> {
        let length = usize::try_from(self.field(item, Item::ValueLength)).unwrap_or(0);
        let length = length.min(self.plan.longest_value());
        let mut value = Vec::with_capacity(length + 8);
        for block in self.chain_of(item) {
            let piece = (length - value.len()).min(self.plan.block_size);
            self.read_bytes(self.block_start(block), piece, &mut value);
        }
        value
    }
}
