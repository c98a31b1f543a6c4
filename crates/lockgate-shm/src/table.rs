//! A hash table of bytes with expiry in words of shared memory, of a fixed size, as uWSGI's cache.
//!
//! Invariant: an entry counts from the one store that writes its stamp, after everything else of it is written, until
//! the store that clears its stamp, before anything of it is reused. All else (buckets, free lists, order of use) is
//! derived: when a process has died inside a change, the next one makes it again ([`recovery`]). So an entry is whole
//! or absent, whenever a process dies. An entry that replaces another is stamped before the other is cleared, and the
//! higher stamp counts.
//!
//! Access is exclusive: the caller holds the lock of the table.

mod blocks;
mod layout;
mod order;
mod plan;
mod recovery;

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

pub use plan::{CachePlan, WhenFull};

use crate::hash::hash;
use layout::{Header, Item};

/// See the module. A copy refers to the same memory.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    words: &'static [AtomicU64],
    plan: CachePlan,
}

/// An entry that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its value.
    pub value: Vec<u8>,
    /// The moment at which it expires, in milliseconds; 0: never.
    pub expires: u64,
}

/// Why an entry is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The key is empty or longer than the plan's.
    Key,
    /// The value is empty or does not fit into the plan's blocks.
    Value,
    /// There is an entry, and it is not to be replaced.
    Exists,
    /// There is no room, and the plan removes nothing.
    Full,
    /// The entry is no number of eight bytes.
    NotANumber,
}

/// An operation on a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `number + operand`.
    Add,
    /// `number - operand`.
    Subtract,
    /// `number * operand`.
    Multiply,
    /// `number / operand`; 0 when the operand is 0, as in uWSGI.
    Divide,
}

/// What has happened to a table since the start of the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Entries now, with those that have expired and were not removed yet.
    pub items: u64,
    /// Lookups that found an entry.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Entries that were refused because the table was full.
    pub full: u64,
    /// Times that the table was repaired after a process had died inside a change.
    pub recoveries: u64,
}

impl Table {
    /// The table in this memory, which is all zero or was a table of the same plan; `None` when it is too small.
    pub fn new(words: &'static [AtomicU64], plan: CachePlan) -> Option<Self> {
        let words = words.get(..plan.words())?;
        Some(Self { words, plan })
    }

    /// Sets the secret key of the hash function, once, before the first use.
    pub fn set_hash_key(&self, key: (u64, u64)) {
        self.set(Header::HashKey, key.0);
        self.set(Header::HashKey2, key.1);
    }

    /// The plan.
    pub fn plan(&self) -> &CachePlan {
        &self.plan
    }

    /// Repairs the table if a process has died inside a change. To be called whenever the lock was taken.
    pub(crate) fn recover_if_torn(&self) {
        if self.get_header(Header::Changing) != 0 {
            self.recover();
        }
    }

    /// The entry of this key.
    pub fn get(&self, key: &[u8], now: u64) -> Option<Entry> {
        let found = self.find_fresh(key, now);
        let counter = match found {
            Some(_) => Header::Hits,
            None => Header::Misses,
        };
        self.increment(counter);
        let item = found?;
        if self.plan.when_full == WhenFull::Evict {
            self.change(|| self.make_newest(item));
        }
        Some(Entry {
            value: self.read_value(item),
            expires: self.field(item, Item::Expires),
        })
    }

    /// Whether there is an entry of this key.
    pub fn contains(&self, key: &[u8], now: u64) -> bool {
        self.find_fresh(key, now).is_some()
    }

    /// Writes an entry that is not there yet. `expires` is a moment in milliseconds; 0: never.
    ///
    /// # Errors
    /// When it is there, does not fit, or the table is full.
    pub fn insert(&self, key: &[u8], value: &[u8], expires: u64, now: u64) -> Result<(), Refused> {
        if self.contains(key, now) {
            return Err(Refused::Exists);
        }
        self.replace(key, value, expires, now)
    }

    /// Writes an entry, in place of the one that is there.
    ///
    /// # Errors
    /// When it does not fit, or the table is full. A present entry then stays, unless room for both was missing.
    pub fn replace(&self, key: &[u8], value: &[u8], expires: u64, now: u64) -> Result<(), Refused> {
        if key.is_empty() || key.len() > self.plan.key_size {
            return Err(Refused::Key);
        }
        if value.is_empty() || value.len() > self.plan.longest_value() {
            return Err(Refused::Value);
        }
        self.change(|| self.write(key, value, expires, now))
    }

    /// Applies an operation to the number of this key, and to the plan's initial number if there is none; overflow
    /// wraps. Returns the result. `expires` counts for a new entry.
    ///
    /// # Errors
    /// When the entry is no number, or cannot be written.
    pub fn calculate(
        &self,
        key: &[u8],
        (operation, operand): (Operation, i64),
        expires: u64,
        now: u64,
    ) -> Result<i64, Refused> {
        let Some(item) = self.find_fresh(key, now) else {
            let number = operation.apply(self.plan.initial_number, operand);
            self.replace(key, &number.to_le_bytes(), expires, now)?;
            return Ok(number);
        };
        if self.field(item, Item::ValueLength) != 8 {
            return Err(Refused::NotANumber);
        }
        let place = self.block_start(self.field(item, Item::FirstBlock));
        let number = operation.apply(self.word(place).cast_signed(), operand);
        // One store, so there is nothing to tear.
        self.store(place, number.cast_unsigned());
        if self.plan.when_full == WhenFull::Evict {
            self.change(|| self.make_newest(item));
        }
        Ok(number)
    }

    /// Removes the entry of this key; returns whether there was one.
    pub fn remove(&self, key: &[u8], now: u64) -> bool {
        let found = self.find_fresh(key, now);
        if let Some(item) = found {
            self.change(|| self.discard(item));
        }
        found.is_some()
    }

    /// Removes all entries.
    pub fn clear(&self) {
        self.change(|| self.discard_all());
    }

    /// The keys of all entries.
    pub fn keys(&self, now: u64) -> Vec<Vec<u8>> {
        let fresh = self.live().filter(|&item| !self.has_expired(item, now));
        fresh.map(|item| self.read_key(item)).collect()
    }

    /// What has happened so far.
    pub fn counts(&self) -> TableCounts {
        TableCounts {
            items: self.get_header(Header::Count),
            hits: self.get_header(Header::Hits),
            misses: self.get_header(Header::Misses),
            full: self.get_header(Header::Full),
            recoveries: self.get_header(Header::Recoveries),
        }
    }
}

impl Operation {
    fn apply(self, number: i64, operand: i64) -> i64 {
        match self {
            Self::Add => number.wrapping_add(operand),
            Self::Subtract => number.wrapping_sub(operand),
            Self::Multiply => number.wrapping_mul(operand),
            Self::Divide if operand == 0 => 0,
            Self::Divide => number.wrapping_div(operand),
        }
    }
}

impl Table {
    /// Runs a change of derived data. A process that dies inside it leaves the mark.
    fn change<R>(&self, change: impl FnOnce() -> R) -> R {
        self.set(Header::Changing, 1);
        // The mark is there before the change, and goes after it.
        std::sync::atomic::fence(Ordering::SeqCst);
        let result = change();
        std::sync::atomic::fence(Ordering::Release);
        self.set(Header::Changing, 0);
        result
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let secret = (
            self.get_header(Header::HashKey),
            self.get_header(Header::HashKey2),
        );
        hash(secret, key)
    }

    /// The item of this key, whether or not it has expired.
    fn find(&self, key: &[u8]) -> Option<usize> {
        let hash = self.hash(key);
        let mut next = self.word(self.bucket(hash));
        // A bound, so that even memory that another program has overwritten ends the search.
        for _ in 0..self.plan.slots() {
            let item = usize::try_from(next).ok()?.checked_sub(1)?;
            if self.field(item, Item::Hash) == hash && self.has_key(item, key) {
                return Some(item);
            }
            next = self.field(item, Item::Next);
        }
        None
    }

    /// The item of this key. One that has expired is removed.
    fn find_fresh(&self, key: &[u8], now: u64) -> Option<usize> {
        let item = self.find(key)?;
        if self.has_expired(item, now) {
            self.change(|| self.discard(item));
            return None;
        }
        Some(item)
    }

    fn has_expired(&self, item: usize, now: u64) -> bool {
        let expires = self.field(item, Item::Expires);
        expires != 0 && expires <= now
    }

    fn write(&self, key: &[u8], value: &[u8], expires: u64, now: u64) -> Result<(), Refused> {
        let mut old = self.find(key);
        if old.is_none() && self.get_header(Header::Count) >= self.plan.items as u64 {
            self.make_room(now);
            if self.get_header(Header::Count) >= self.plan.items as u64 {
                return Err(self.refuse_full());
            }
        }
        let blocks = self.plan.blocks_of(value.len());
        while self.free_blocks() < blocks {
            let before = self.get_header(Header::Count);
            self.make_room(now);
            old = self.find(key);
            if self.get_header(Header::Count) < before {
                continue;
            }
            // There is no room for both.
            match old.take() {
                Some(item) if self.free_blocks() + self.blocks_of_item(item) >= blocks => {
                    self.discard(item);
                }
                _ => return Err(self.refuse_full()),
            }
        }
        let item = self.take_item().ok_or_else(|| self.refuse_full())?;
        let first = self.take_blocks(blocks);
        self.write_key(item, key);
        self.write_value(first, value);
        self.set_field(item, Item::KeyLength, key.len() as u64);
        self.set_field(item, Item::ValueLength, value.len() as u64);
        self.set_field(item, Item::FirstBlock, first);
        self.set_field(item, Item::Expires, expires);
        self.set_field(item, Item::Hash, self.hash(key));
        self.stamp(item);
        if let Some(old) = old {
            self.discard(old);
        }
        self.link(item);
        self.note_expiry(expires);
        Ok(())
    }

    fn refuse_full(&self) -> Refused {
        self.increment(Header::Full);
        Refused::Full
    }

    /// Makes the item count: the store that the invariant is about.
    fn stamp(&self, item: usize) {
        let stamp = self.next_stamp();
        self.set_field(item, Item::Used, stamp);
        let place = self.place(item, Item::Stamp);
        if let Some(word) = self.words.get(place) {
            word.store(stamp, Ordering::Release);
        }
        // What follows, such as the end of the entry that this one replaces, comes later for a dying process too.
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Removes an item: it stops to count first.
    fn discard(&self, item: usize) {
        self.set_field(item, Item::Stamp, 0);
        std::sync::atomic::fence(Ordering::SeqCst);
        self.unlink(item);
        self.give_back(item);
    }

    fn discard_all(&self) {
        for item in 0..self.used_slots() {
            self.set_field(item, Item::Stamp, 0);
        }
        std::sync::atomic::fence(Ordering::SeqCst);
        self.rebuild();
    }

    /// Removes what has expired; if that is nothing, what the plan says.
    fn make_room(&self, now: u64) {
        let earliest = self.get_header(Header::Earliest);
        if earliest != 0 && earliest <= now && self.remove_expired(now) {
            return;
        }
        match self.plan.when_full {
            WhenFull::Refuse => {}
            WhenFull::Clear => self.discard_all(),
            WhenFull::Evict => {
                if let Some(oldest) = self.oldest() {
                    self.discard(oldest);
                }
            }
        }
    }

    /// Removes all entries that have expired; returns whether there were any.
    fn remove_expired(&self, now: u64) -> bool {
        let mut earliest = 0;
        let mut has_removed = false;
        for item in self.live() {
            let expires = self.field(item, Item::Expires);
            if expires == 0 {
                continue;
            }
            if expires <= now {
                self.discard(item);
                has_removed = true;
            } else if earliest == 0 || expires < earliest {
                earliest = expires;
            }
        }
        self.set(Header::Earliest, earliest);
        has_removed
    }

    /// Keeps a lower bound of all moments of expiry, so that a full table without expired entries needs no search.
    fn note_expiry(&self, expires: u64) {
        let earliest = self.get_header(Header::Earliest);
        if expires != 0 && (earliest == 0 || expires < earliest) {
            self.set(Header::Earliest, expires);
        }
    }

    /// The items that count.
    fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.used_slots()).filter(|&item| self.field(item, Item::Stamp) != 0)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "the key is empty or too long",
            Self::Value => "the value is empty or too large",
            Self::Exists => "the key exists",
            Self::Full => "the cache is full",
            Self::NotANumber => "the value is no number",
        })
    }
}

impl Error for Refused {}

#[cfg(test)]
mod tests;
