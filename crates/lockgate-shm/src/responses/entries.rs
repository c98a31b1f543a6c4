//! The entries of a store: how one is written, evicted and removed, while others are read.
//!
//! Invariant: an entry counts from the one store that writes its stamp, after everything else of it is written, until
//! the store that clears its stamp, before anything of it is reused. All else (buckets, the order of eviction, nodes of
//! tags, the free list) is derived: when a process has died inside a change, the next one makes it again. An entry that
//! replaces another is stamped before the other is cleared, and the higher stamp counts.
//!
//! Changes are exclusive: the caller holds the lock of the store. Reads are not ([`super::reading`]).

use super::draft::Draft;
use super::layout::{AtomicU64, BLOCK_WORDS, Field, Header, Memory, Ordering, ROW, fence};
use super::plan::ResponseStorePlan;
use super::rows::{has_bytes, store_bytes};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entries {
    pub(super) memory: Memory,
    pub(super) plan: ResponseStorePlan,
}

/// How many entries that were read since are spared before one is evicted: a bound on what an insert costs.
const MOST_SPARED: usize = 64;

impl Entries {
    pub(super) fn new(
        words: &'static [AtomicU64],
        plan: &ResponseStorePlan,
        secret: (u64, u64),
    ) -> Option<Self> {
        let memory = Memory::new(words, plan)?;
        match memory.get(Header::Signature) {
            0 => {
                memory.set(Header::HashKey, secret.0);
                memory.set(Header::HashKey2, secret.1);
                memory.set(Header::Signature, plan.signature());
            }
            signature if signature == plan.signature() => {}
            _ => return None,
        }
        Some(Self {
            memory,
            plan: *plan,
        })
    }

    pub(super) fn hash_key(&self) -> (u64, u64) {
        (
            self.memory.get(Header::HashKey),
            self.memory.get(Header::HashKey2),
        )
    }

    /// Whether a process has died inside a change.
    pub(super) fn is_torn(&self) -> bool {
        self.memory.get(Header::Changing) != 0
    }

    /// Writes an entry, in place of the one with the same key. `id` is that of an entry whose body this one has, or
    /// none. `None` if memory that another program has overwritten has no room.
    pub(super) fn insert(&self, draft: &Draft<'_>, id: Option<u64>, now: u64) -> Option<u64> {
        self.change(|| {
            self.make_room(draft.blocks(), now)?;
            let old = self.find(draft.hash, draft.key);
            let first = self.take_blocks(draft.blocks())?;
            let stamp = self.memory.get(Header::LastId).wrapping_add(1);
            self.memory.set(Header::LastId, stamp);
            let id = id.unwrap_or(stamp);
            self.write(first, draft, id);
            self.memory.set_field(first, Field::Stamp, stamp);
            // What follows, such as the end of the entry that this one replaces, comes later for a dying process too.
            fence(Ordering::SeqCst);
            self.link(first);
            if let Some(old) = old {
                self.discard(old);
            }
            Some(id)
        })
    }

    /// Removes an entry: it stops to count first.
    pub(super) fn remove(&self, first: u64) {
        self.change(|| self.discard(first));
    }

    /// The entry of this key.
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<u64> {
        let mut next = self.memory.first_of_key(hash);
        // A bound, so that even memory that another program has overwritten ends the search.
        for _ in 0..self.plan.blocks() {
            if next == 0 {
                return None;
            }
            if self.memory.field(next, Field::Stamp) != 0
                && self.memory.field(next, Field::Hash) == hash
                && self.has_key(next, key)
            {
                return Some(next);
            }
            next = self.memory.field(next, Field::Next);
        }
        None
    }

    /// Whether a purge of everything concerns this entry.
    pub(super) fn is_purged(&self, first: u64) -> bool {
        self.memory.field(first, Field::Id) < self.memory.get(Header::PurgedBefore)
    }

    /// Runs a change of derived data. A process that dies inside it leaves the mark.
    pub(super) fn change<R>(&self, change: impl FnOnce() -> R) -> R {
        self.memory.set(Header::Changing, 1);
        // The mark is there before the change, and goes after it.
        fence(Ordering::SeqCst);
        let result = change();
        fence(Ordering::SeqCst);
        self.memory.set(Header::Changing, 0);
        result
    }

    pub(super) fn used_blocks(&self) -> u64 {
        let used = self.memory.get(Header::UsedBlocks);
        used.min(self.plan.blocks() as u64)
    }

    pub(super) fn free_blocks(&self) -> u64 {
        let never_used = self.plan.blocks() as u64 - self.used_blocks();
        never_used.saturating_add(self.memory.get(Header::FreeBlocks))
    }

    /// Number of tags.
    pub(super) fn tags_of(&self, first: u64) -> usize {
        let tags = usize::try_from(self.memory.field(first, Field::Tags));
        // A bound for memory that another program has overwritten.
        let most = self.plan.most_blocks() * BLOCK_WORDS / ROW;
        tags.unwrap_or(most).min(most)
    }

    pub(super) fn has_key(&self, first: u64, key: &[u8]) -> bool {
        let length = self.memory.field(first, Field::Lengths) >> 32;
        let mut rows = self.memory.rows(first);
        rows.skip(self.tags_of(first));
        length == key.len() as u64 && has_bytes(&mut rows, key)
    }

    fn write(&self, first: u64, draft: &Draft<'_>, id: u64) {
        // A reader that sees a word of this entry sees that the entry before it has ended, too.
        fence(Ordering::Release);
        for (name, value) in [
            (Field::Used, 0),
            (Field::Hash, draft.hash),
            (Field::Id, id),
            (Field::Lengths, draft.lengths()),
            (Field::BodyLength, draft.body.len() as u64),
            (Field::Tags, draft.tags.len() as u64),
            (Field::Expires, draft.expires),
            (Field::HeadSum, draft.head_sum),
            (Field::BodySum, draft.body_sum),
        ] {
            self.memory.set_field(first, name, value);
        }
        self.write_nodes(first, &draft.tags);
        let mut rows = self.memory.rows(first);
        rows.skip(draft.tags.len());
        for part in [draft.key, draft.meta, draft.body] {
            store_bytes(&mut rows, part);
        }
    }

    /// Makes an entry that counts reachable: by its key, by its tags, and as the newest one.
    pub(super) fn link(&self, first: u64) {
        self.append(first);
        self.link_tags(first);
        let hash = self.memory.field(first, Field::Hash);
        let next = self.memory.first_of_key(hash);
        self.memory.set_field(first, Field::Next, next);
        self.memory.set_first_of_key(hash, first);
        self.memory.add(Header::Entries, 1);
    }

    fn discard(&self, first: u64) {
        // Before: a reader that sees the end of this entry, or a chain without it, and has not seen the entry that
        // replaces it, finds this number changed.
        self.memory.add(Header::Unlinked, 1);
        self.memory.set_field(first, Field::Stamp, 0);
        fence(Ordering::SeqCst);
        self.unlink_key(first);
        // After it: a reader that starts later does not reach the entry. Before anything of it is reused: a reader that
        // has reached it finds this number changed.
        self.memory.add(Header::Unlinked, 1);
        self.unlink_tags(first);
        self.take_out(first);
        self.give_back(first);
        let entries = self.memory.get(Header::Entries);
        self.memory.set(Header::Entries, entries.saturating_sub(1));
    }

    fn unlink_key(&self, first: u64) {
        let hash = self.memory.field(first, Field::Hash);
        let after = self.memory.field(first, Field::Next);
        let mut before = self.memory.first_of_key(hash);
        if before == first {
            return self.memory.set_first_of_key(hash, after);
        }
        for _ in 0..self.plan.blocks() {
            let next = self.memory.field(before, Field::Next);
            if next == first {
                return self.memory.set_field(before, Field::Next, after);
            }
            if next == 0 {
                return;
            }
            before = next;
        }
    }

    /// Appends an entry to the order of eviction.
    fn append(&self, first: u64) {
        let newest = self.memory.get(Header::Newest);
        self.memory.set_field(first, Field::Older, newest);
        self.memory.set_field(first, Field::Newer, 0);
        match newest {
            0 => self.memory.set(Header::Oldest, first),
            newest => self.memory.set_field(newest, Field::Newer, first),
        }
        self.memory.set(Header::Newest, first);
    }

    /// Takes an entry out of the order of eviction.
    fn take_out(&self, first: u64) {
        let older = self.memory.field(first, Field::Older);
        let newer = self.memory.field(first, Field::Newer);
        match older {
            0 => self.memory.set(Header::Oldest, newer),
            older => self.memory.set_field(older, Field::Newer, newer),
        }
        match newer {
            0 => self.memory.set(Header::Newest, older),
            newer => self.memory.set_field(newer, Field::Older, older),
        }
    }

    fn make_room(&self, blocks: usize, now: u64) -> Option<()> {
        for _ in 0..=self.plan.blocks() {
            if self.free_blocks() >= blocks as u64 {
                return Some(());
            }
            self.evict(now)?;
        }
        None
    }

    /// Removes the oldest entry that was not read since the last time (CLOCK).
    fn evict(&self, now: u64) -> Option<()> {
        for spared in 0.. {
            let oldest = self.memory.get(Header::Oldest);
            if oldest == 0 {
                return None;
            }
            let was_used = self.memory.field(oldest, Field::Used) != 0;
            let has_expired = self.memory.field(oldest, Field::Expires) <= now;
            if !was_used || has_expired || self.is_purged(oldest) || spared == MOST_SPARED {
                self.discard(oldest);
                self.memory.add(Header::Evicted, 1);
                return Some(());
            }
            self.memory.set_field(oldest, Field::Used, 0);
            self.take_out(oldest);
            self.append(oldest);
        }
        None
    }

    /// Takes free blocks, linked with each other.
    fn take_blocks(&self, number: usize) -> Option<u64> {
        let (mut first, mut last) = (0, 0);
        for _ in 0..number {
            let block = self.take_block()?;
            match first {
                0 => first = block,
                _ => self.memory.set_field(last, Field::Link, block),
            }
            last = block;
        }
        self.memory.set_field(last, Field::Link, 0);
        self.memory.set_field(first, Field::Blocks, number as u64);
        self.memory.set_field(first, Field::LastBlock, last);
        Some(first)
    }

    fn take_block(&self) -> Option<u64> {
        let free = self.memory.get(Header::FreeBlock);
        if free != 0 {
            let next = self.memory.field(free, Field::Link);
            self.memory.set(Header::FreeBlock, next);
            let left = self.memory.get(Header::FreeBlocks).checked_sub(1)?;
            self.memory.set(Header::FreeBlocks, left);
            return Some(free);
        }
        let used = self.used_blocks();
        let block = (used < self.plan.blocks() as u64).then_some(used + 1)?;
        self.memory.set(Header::UsedBlocks, block);
        Some(block)
    }

    /// Puts all blocks of an entry on the free list.
    fn give_back(&self, first: u64) {
        let last = self.memory.field(first, Field::LastBlock);
        let blocks = self.memory.field(first, Field::Blocks);
        self.add_free(first, last, blocks);
    }

    /// Puts a chain of blocks on the free list.
    pub(super) fn add_free(&self, first: u64, last: u64, blocks: u64) {
        let next = self.memory.get(Header::FreeBlock);
        self.memory.set_field(last, Field::Link, next);
        self.memory.set(Header::FreeBlock, first);
        self.memory.add(Header::FreeBlocks, blocks);
    }
}
