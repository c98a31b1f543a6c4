//! Repair of a store in which a process has died: the derived data are made again from the entries that count.

use std::collections::HashMap;

use super::entries::Entries;
use super::layout::{Field, Header, Ordering, blocks_of, fence, rows_of};

impl Entries {
    /// Makes the store whole. A process that dies here leaves the mark, and the next one begins again.
    pub(super) fn recover(&self) {
        self.change(|| {
            self.memory.add(Header::Recoveries, 1);
            // Readers that look meanwhile look again.
            self.memory.add(Header::Unlinked, 1);
            let used = self.used_blocks();
            self.memory.set(Header::UsedBlocks, used);
            let mut owned = vec![false; self.plan.blocks() + 1];
            let entries = self.sound_entries(used, &mut owned);
            self.rebuild(entries, used, &owned);
        });
    }

    /// The first blocks of the entries that count, by their stamps. All others stop to count. Of two entries with the
    /// same key the later one counts: the process died before it cleared the other. Entries whose parts cannot be right,
    /// which only another program can have written, do not count.
    fn sound_entries(&self, used: u64, owned: &mut [bool]) -> Vec<u64> {
        let stamp = |first: u64| self.memory.field(first, Field::Stamp);
        let mut found: Vec<u64> = (1..=used).filter(|first| stamp(*first) != 0).collect();
        found.sort_unstable_by_key(|first| std::cmp::Reverse(stamp(*first)));
        let mut seen: HashMap<u64, Vec<u64>> = HashMap::new();
        let mut is_of_first_block = vec![false; owned.len()];
        for first in &found {
            mark(&mut is_of_first_block, *first);
        }
        found.retain(|first| {
            let same_hash = seen
                .entry(self.memory.field(*first, Field::Hash))
                .or_default();
            let counts = self.has_sound_sizes(*first) && {
                let key = self.key_of(*first);
                let is_replaced = (same_hash.iter()).any(|later| self.has_key(*later, &key));
                !is_replaced && self.own_blocks(*first, owned, &is_of_first_block)
            };
            match counts {
                true => same_hash.push(*first),
                false => self.memory.set_field(*first, Field::Stamp, 0),
            }
            counts
        });
        fence(Ordering::SeqCst);
        found.reverse();
        found
    }

    /// Marks the blocks of an entry as its own; false, and none is marked, if they cannot be.
    fn own_blocks(&self, first: u64, owned: &mut [bool], is_first: &[bool]) -> bool {
        let mut blocks = Vec::new();
        let mut next = first;
        let number = self.memory.field(first, Field::Blocks);
        for _ in 0..number {
            let index = usize::try_from(next).unwrap_or(usize::MAX);
            let is_free = owned.get(index) == Some(&false) && next != 0;
            if !is_free || next != first && is_first.get(index) != Some(&false) {
                return self.release(&blocks, owned);
            }
            mark(owned, next);
            blocks.push(next);
            next = self.memory.field(next, Field::Link);
        }
        if next != 0 || blocks.last() != Some(&self.memory.field(first, Field::LastBlock)) {
            return self.release(&blocks, owned);
        }
        true
    }

    fn release(&self, blocks: &[u64], owned: &mut [bool]) -> bool {
        for block in blocks {
            if let Some(mark) = usize::try_from(*block)
                .ok()
                .and_then(|it| owned.get_mut(it))
            {
                *mark = false;
            }
        }
        false
    }

    /// Makes all derived data of these entries, which are in the order of their stamps.
    fn rebuild(&self, entries: Vec<u64>, used: u64, owned: &[bool]) {
        self.memory.clear_buckets();
        for name in [
            Header::Entries,
            Header::FreeBlock,
            Header::FreeBlocks,
            Header::Oldest,
            Header::Newest,
        ] {
            self.memory.set(name, 0);
        }
        let last_stamp = entries
            .last()
            .map_or(0, |first| self.memory.field(*first, Field::Stamp));
        let last_id = self.memory.get(Header::LastId);
        self.memory.set(Header::LastId, last_id.max(last_stamp));
        for first in entries {
            self.write_nodes(first, &self.tag_hashes(first));
            self.link(first);
        }
        for block in (1..=used).rev() {
            let index = usize::try_from(block).unwrap_or(usize::MAX);
            if owned.get(index) == Some(&false) {
                self.add_free(block, block, 1);
            }
        }
        self.memory.add(Header::Unlinked, 1);
    }

    fn has_sound_sizes(&self, first: u64) -> bool {
        let Some([key, meta, body, tags]) = self.checked(self.sizes(first)) else {
            return false;
        };
        let rows = rows_of(key) + rows_of(meta) + rows_of(body) + tags;
        self.memory.field(first, Field::Blocks) == blocks_of(rows) as u64
    }
}

fn mark(marks: &mut [bool], block: u64) {
    if let Some(mark) = usize::try_from(block).ok().and_then(|it| marks.get_mut(it)) {
        *mark = true;
    }
}
