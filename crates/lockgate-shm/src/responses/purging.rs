//! Purges: which inserts come too late, and which entries are older.
//!
//! A purge gets the next epoch. An insert has the epoch at which its response was begun: it is refused if what it is
//! about was purged later. Entries that were written before the purge have smaller ids than those after it.

use super::draft::Draft;
use super::entries::Entries;
use super::layout::{Field, Header, PURGES};

/// What a purge removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purge<'a> {
    /// A key, with its hash.
    Key(u64, &'a [u8]),
    /// The hash of a tag.
    Tag(u64),
    All,
}

impl Entries {
    /// Number of purges so far.
    pub(super) fn epoch(&self) -> u64 {
        self.memory.get(Header::Epoch)
    }

    /// Begins a purge: refuses the inserts in progress. Returns the last id before it.
    pub(super) fn begin_purge(&self, purge: Purge<'_>) -> u64 {
        let epoch = self.epoch().wrapping_add(1);
        let last_id = self.memory.get(Header::LastId);
        // If the process dies between two stores, no epoch that is still to come refuses an insert.
        match purge {
            Purge::Key(hash, _) | Purge::Tag(hash) => self.memory.set_purged_at(epoch, hash),
            Purge::All => {
                let first_id = last_id.wrapping_add(1);
                self.memory.set(Header::PurgedBefore, first_id);
            }
        }
        self.memory.set(Header::Epoch, epoch);
        if purge == Purge::All {
            self.memory.set(Header::EpochOfAll, epoch);
        }
        last_id
    }

    /// Whether a purge since that epoch concerns this draft.
    pub(super) fn was_purged_since(&self, started: u64, draft: &Draft<'_>) -> bool {
        let last = self.epoch();
        if self.memory.get(Header::EpochOfAll) > started
            || last.saturating_sub(started) > PURGES as u64
        {
            return true;
        }
        let names = |hash| draft.hash == hash || draft.tags.contains(&hash);
        (started + 1..=last).any(|epoch| names(self.memory.purged_at(epoch)))
    }

    /// Removes at most `most` entries that a purge concerns; returns how many there were.
    pub(super) fn remove_purged(&self, purge: Purge<'_>, last_id: u64, most: usize) -> u64 {
        let found = match purge {
            Purge::Key(hash, key) => self.find(hash, key).into_iter().collect(),
            Purge::Tag(hash) => self.entries_of_tag(hash, last_id, most),
            Purge::All => self.purged(most),
        };
        for first in &found {
            self.remove(*first);
        }
        self.memory.add(Header::Purged, found.len() as u64);
        found.len() as u64
    }

    /// The oldest entries that a purge of everything concerns: they are before all others in the order of eviction.
    fn purged(&self, most: usize) -> Vec<u64> {
        let oldest = Some(self.memory.get(Header::Oldest));
        let next = |first: &u64| Some(self.memory.field(*first, Field::Newer));
        std::iter::successors(oldest, next)
            .take_while(|first| *first != 0 && self.is_purged(*first))
            .take(most)
            .collect()
    }
}
