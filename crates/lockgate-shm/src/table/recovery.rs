//! Repair of a table in which a process has died: the derived data are made again from the items that count.

use std::collections::HashMap;

use super::Table;
use super::layout::{Header, Item};

impl Table {
    /// Makes the table whole. A process that dies here leaves the mark, and the next one begins again.
    pub(super) fn recover(&self) {
        self.increment(Header::Recoveries);
        self.remove_replaced();
        self.rebuild();
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.set(Header::Changing, 0);
    }

    /// Of two items with the same key the later one counts: the process died before it cleared the other. Items whose
    /// parts cannot be right, which only another program can have written, do not count.
    fn remove_replaced(&self) {
        let mut latest: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut owners = vec![false; self.plan.physical_blocks() + 1];
        for item in self.live().collect::<Vec<_>>() {
            if !self.is_sound(item, &mut owners) {
                self.set_field(item, Item::Stamp, 0);
                continue;
            }
            let other = latest.insert(self.read_key(item), item);
            if let Some(other) = other {
                let stamp = |item| self.field(item, Item::Stamp);
                let replaced = match stamp(other) < stamp(item) {
                    true => other,
                    false => {
                        latest.insert(self.read_key(item), other);
                        item
                    }
                };
                self.set_field(replaced, Item::Stamp, 0);
            }
        }
    }

    /// Whether the lengths are within bounds and each block belongs to this item alone.
    fn is_sound(&self, item: usize, owners: &mut [bool]) -> bool {
        let within = |value: u64, most: usize| (1..=most as u64).contains(&value);
        if !within(self.field(item, Item::KeyLength), self.plan.key_size)
            || !within(
                self.field(item, Item::ValueLength),
                self.plan.longest_value(),
            )
        {
            return false;
        }
        let chain: Vec<u64> = self.chain_of(item).collect();
        chain.len() == self.blocks_of_item(item)
            && chain.into_iter().all(|block| {
                let owner = usize::try_from(block)
                    .ok()
                    .and_then(|block| owners.get_mut(block));
                owner.is_some_and(|is_owned| !std::mem::replace(is_owned, true))
            })
    }

    /// Makes all derived data from the items that count.
    pub(super) fn rebuild(&self) {
        for bucket in 0..self.plan.buckets() {
            self.store(self.plan.buckets_start() + bucket, 0);
        }
        for name in [
            Header::Count,
            Header::FreeSlot,
            Header::FreeBlock,
            Header::FreeBlocks,
            Header::Oldest,
            Header::Newest,
            Header::Earliest,
        ] {
            self.set(name, 0);
        }
        let mut items: Vec<usize> = self.live().collect();
        items.sort_by_key(|&item| self.field(item, Item::Used));
        let mut is_used = vec![false; self.plan.physical_blocks() + 1];
        for &item in &items {
            self.link(item);
            self.note_expiry(self.field(item, Item::Expires));
            for block in self.chain_of(item) {
                let index = usize::try_from(block).unwrap_or(usize::MAX);
                if let Some(used) = is_used.get_mut(index) {
                    *used = true;
                }
            }
        }
        let used_blocks = self.get_header(Header::UsedBlocks);
        let used_blocks = used_blocks.min(self.plan.physical_blocks() as u64);
        self.set(Header::UsedBlocks, used_blocks);
        for block in (1..=used_blocks).rev() {
            let index = usize::try_from(block).unwrap_or(usize::MAX);
            if is_used.get(index) == Some(&false) {
                self.free_block(block);
            }
        }
        for item in (0..self.used_slots()).rev() {
            if self.field(item, Item::Stamp) == 0 {
                self.free_slot(item);
            }
        }
    }
}
