//! A store of responses in words of shared memory: the HTTP cache that all processes of a server read and fill.
//!
//! Readers take no lock. Writers exclude each other by a lock that its holder's death releases. When the store is full,
//! entries that were not read for long are evicted. All moments are the caller's, in any unit.

mod checksum;
mod draft;
mod entries;
mod flights;
mod layout;
mod plan;
mod purging;
mod reading;
mod recovery;
mod rows;
mod tags;

use std::error::Error;
use std::fmt;
use std::time::Duration;

pub use flights::{Flight, FlightOutcome, FlightState, FlightToken};
pub use plan::ResponseStorePlan;
pub use reading::EntryBuffer;

use crate::hash::hash;
use crate::lock::{Guard, Lock, LockError};
use crate::wake::Wake;
use draft::Draft;
use entries::Entries;
use flights::Flights;
use layout::{BLOCK_WORDS, Header};
use purging::Purge;
use reading::{Look, Part};

/// See the module. A copy refers to the same memory.
#[derive(Debug, Clone, Copy)]
pub struct ResponseStore {
    entries: Entries,
    flights: Flights,
    lock: Lock,
    flight_lock: Lock,
    wake: Wake,
}

/// An entry to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewEntry<'a> {
    /// What it is found by.
    pub key: &'a [u8],
    /// What the caller needs to know of the response, such as its head.
    pub meta: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// What it may be purged by, besides its key.
    pub tags: &'a [&'a [u8]],
    /// The moment from which it is of no use; reads still give it.
    pub expires: u64,
}

/// The number of a body in the store: no other one, before or after, has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(u64);

impl EntryId {
    /// For keys that are made of it.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A moment between two purges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PurgeEpoch(u64);

/// Why an entry is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The key is empty.
    Key,
    /// It is larger than the plan allows.
    TooLarge,
    /// Its key or one of its tags was purged since its response was begun.
    Purged,
    /// There is no entry of this id any more.
    Gone,
    /// Another program has overwritten the memory.
    Damaged,
    /// The lock cannot be taken.
    Lock(LockError),
}

/// What has happened to a store since the start of the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResponseCounts {
    /// Entries now.
    pub entries: u64,
    /// Bytes of their blocks.
    pub bytes: u64,
    /// Bytes of all blocks.
    pub capacity: u64,
    /// Requests that were counted as answered from the store.
    pub hits: u64,
    /// Requests that were counted as not answered from it.
    pub misses: u64,
    /// Entries that were written.
    pub stored: u64,
    /// Entries that were removed to make room.
    pub evicted: u64,
    /// Entries that were removed by purges.
    pub purged: u64,
    /// Entries that were refused because of a purge.
    pub refused: u64,
    /// Flights.
    pub flights: u64,
    /// Requests that have waited for a flight of another one.
    pub collapsed: u64,
    /// Times that the store was repaired after a process had died inside a change.
    pub recoveries: u64,
    /// Reads that have found an entry that another program has overwritten.
    pub corrupt: u64,
}

/// How often a read is disturbed by writers before it takes their lock.
const MOST_LOOKS: usize = 16;
/// Entries that a purge removes before it gives the lock to others.
const PURGE_BATCH: usize = 128;

impl ResponseStore {
    /// The store of this plan in memory that is all zero or holds a store of the same plan; `None` if it holds another
    /// one or is too small. `secret` is the key of the hash function of a new store.
    #[cfg(not(all(test, loom)))]
    pub fn new(
        lock_words: &'static [std::sync::atomic::AtomicU32],
        words: &'static [std::sync::atomic::AtomicU64],
        plan: &ResponseStorePlan,
        secret: (u64, u64),
    ) -> Option<Self> {
        let lock_words = lock_words.get(..plan.lock_words())?;
        let (flight_words, words) = words.split_at_checked(flights::FLIGHT_WORDS)?;
        Some(Self {
            entries: Entries::new(words, plan, secret)?,
            flights: Flights::new(flight_words)?,
            lock: Lock::new(lock_words.first()?),
            flight_lock: Lock::new(lock_words.get(plan.flight_lock_word())?),
            wake: Wake::new(lock_words.get(plan.wake_word())?),
        })
    }

    /// Copies the entry of this key, without a lock. It may have expired: the caller looks at [`EntryBuffer::expires`].
    pub fn read(&self, key: &[u8], into: &mut EntryBuffer) -> Option<EntryId> {
        self.copy(key, Part::Whole, into)
    }

    /// As [`read`](Self::read), without the body: takes as long for a large one as for a small one.
    pub fn read_meta(&self, key: &[u8], into: &mut EntryBuffer) -> Option<EntryId> {
        self.copy(key, Part::Meta, into)
    }

    /// Writes an entry, in place of the one with the same key; others are evicted for it. `started` is the epoch from
    /// before its response was fetched.
    ///
    /// # Errors
    /// When it is too large, or what it is about was purged since, or the lock cannot be taken.
    pub fn insert(
        &self,
        entry: &NewEntry<'_>,
        started: PurgeEpoch,
        now: u64,
    ) -> Result<EntryId, Refused> {
        let tags = entry.tags.iter().map(|tag| self.tag_hash(tag)).collect();
        let draft = self.draft((entry.key, entry.meta, entry.body), tags, entry.expires)?;
        let _guard = self.locked()?;
        if self.entries.was_purged_since(started.0, &draft) {
            self.entries.memory.add(Header::Refused, 1);
            return Err(Refused::Purged);
        }
        self.write(&draft, None, now)
    }

    /// Replaces the metadata of an entry, as after a revalidation. Its body, its tags and its id stay.
    ///
    /// # Errors
    /// When there is no entry of this key and this id any more, it is too large, or the lock cannot be taken.
    pub fn replace_meta(
        &self,
        key: &[u8],
        id: EntryId,
        (meta, expires): (&[u8], u64),
        now: u64,
    ) -> Result<(), Refused> {
        let mut old = EntryBuffer::default();
        let hash = self.key_hash(key);
        let _guard = self.locked()?;
        let first = self.entries.find(hash, key).ok_or(Refused::Gone)?;
        let found = self.entries.look_at(first, &mut old);
        if found != Some(id.0) {
            return Err(Refused::Gone);
        }
        let tags = self.entries.tag_hashes(first);
        let draft = self.draft((key, meta, &old.body), tags, expires)?;
        self.write(&draft, Some(id.0), now).map(drop)
    }

    /// Removes the entry of this key; returns whether there was one.
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn remove(&self, key: &[u8]) -> Result<bool, LockError> {
        let hash = self.key_hash(key);
        let _guard = self.lock()?;
        let found = self.entries.find(hash, key);
        if let Some(first) = found {
            self.entries.remove(first);
        }
        Ok(found.is_some())
    }

    /// The epoch now, for an insert that begins.
    pub fn epoch(&self) -> PurgeEpoch {
        PurgeEpoch(self.entries.epoch())
    }

    /// Removes the entry of this key, and refuses inserts of it that are in progress. Returns the number of entries.
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn purge_key(&self, key: &[u8]) -> Result<u64, LockError> {
        self.purge(Purge::Key(self.key_hash(key), key))
    }

    /// Removes the entries of this tag, and refuses inserts with it that are in progress. Returns the number of entries.
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn purge_tag(&self, tag: &[u8]) -> Result<u64, LockError> {
        self.purge(Purge::Tag(self.tag_hash(tag)))
    }

    /// Removes all entries, and refuses all inserts that are in progress. Returns the number of entries.
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn purge_all(&self) -> Result<u64, LockError> {
        self.purge(Purge::All)
    }

    /// Begins to fetch the response of this key, or waits for a request that does. `process` is this process's id.
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn begin_flight(&self, key: &[u8], process: u32, now: u64) -> Result<Flight, LockError> {
        let hashes = (self.key_hash(key), self.hash(FLIGHT, key));
        let (flight, has_left_waiters) = {
            let _guard = self.flight_lock.lock()?;
            (self.flights).begin(hashes, process, now, crate::lock::is_process_alive)
        };
        self.entries.memory.count(match flight {
            Flight::Leader(_) => Header::Flights,
            Flight::Wait(_) => Header::Collapsed,
        });
        self.announce_if(has_left_waiters);
        Ok(flight)
    }

    /// Ends a flight, after the response was stored, and wakes those that wait for it.
    pub fn end_flight(&self, token: FlightToken, outcome: FlightOutcome) {
        self.announce_if(self.flights.end(token, outcome));
    }

    /// Makes this process the leader of a flight that takes too long; `None` when it has ended or another request has
    /// taken it over. What its first leader does about it has no effect any more, except that it may store the response.
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn take_over(
        &self,
        token: FlightToken,
        process: u32,
        now: u64,
    ) -> Result<Option<FlightToken>, LockError> {
        let taken = {
            let _guard = self.flight_lock.lock()?;
            self.flights.take_over(token, process, now)
        };
        self.announce_if(taken.is_some_and(|(_, has_waiters)| has_waiters));
        Ok(taken.map(|(token, _)| token))
    }

    /// The state of a flight.
    pub fn flight_state(&self, token: FlightToken) -> FlightState {
        self.flights.state(token)
    }

    /// Whether a request waits for a flight.
    pub fn has_waiters(&self, token: FlightToken) -> bool {
        self.flights.has_waiters(token)
    }

    /// How many flights for which a request waits have ended, and purges.
    pub fn events(&self) -> u64 {
        self.entries.memory.get(Header::Events)
    }

    /// Waits until the number of events is another one, at most this long; returns it. It may return early.
    pub fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        self.wake.wait(timeout, || self.events() != seen);
        self.events()
    }

    /// Counts a request that was answered from the store.
    pub fn count_hit(&self) {
        self.entries.memory.count(Header::Hits);
    }

    /// Counts a request that was not answered from the store.
    pub fn count_miss(&self) {
        self.entries.memory.count(Header::Misses);
    }

    /// Calls a function with the key, the id and the content of each entry. Entries that are written or removed
    /// meanwhile may be left out.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], EntryId, &EntryBuffer)) {
        let mut found = EntryBuffer::default();
        for block in 1..=self.entries.used_blocks() {
            if let Some(id) = self.entries.look_at(block, &mut found) {
                visit(found.key(), EntryId(id), &found);
            }
        }
    }

    /// What has happened so far. Each number is one word.
    pub fn counts(&self) -> ResponseCounts {
        let get = |name| self.entries.memory.get(name);
        let block = (BLOCK_WORDS * 8) as u64;
        let capacity = self.entries.plan.blocks() as u64;
        ResponseCounts {
            entries: get(Header::Entries),
            bytes: capacity.saturating_sub(self.entries.free_blocks()) * block,
            capacity: capacity * block,
            hits: get(Header::Hits),
            misses: get(Header::Misses),
            stored: get(Header::Stored),
            evicted: get(Header::Evicted),
            purged: get(Header::Purged),
            refused: get(Header::Refused),
            flights: get(Header::Flights),
            collapsed: get(Header::Collapsed),
            recoveries: get(Header::Recoveries),
            corrupt: get(Header::Corrupt),
        }
    }

    /// Ends the flights of a process that has ended, releases its locks, and wakes those that wait. To be called by the
    /// process that has reaped it: see [`Lock::release_if_dead`].
    pub fn release_of_dead(&self, process: u32) {
        self.lock.release_if_dead();
        self.flight_lock.release_if_dead();
        self.flights.end_all_of(process);
        // The dead process may have changed something and not woken those that wait.
        self.announce_if(true);
    }
}

/// What is hashed, besides keys: each has a key of the hash function of its own.
const TAG: u64 = 1;
const FLIGHT: u64 = 2;

impl ResponseStore {
    fn copy(&self, key: &[u8], part: Part, into: &mut EntryBuffer) -> Option<EntryId> {
        let hash = self.key_hash(key);
        let found = (0..MOST_LOOKS)
            .map(|_| self.entries.look(hash, key, part, into))
            .find(|look| *look != Look::Disturbed);
        // Writers that disturb each look would disturb the next one, too.
        let found = found.or_else(|| {
            let _guard = self.lock().ok()?;
            Some(self.entries.look(hash, key, part, into))
        });
        match found {
            Some(Look::Found(id)) => Some(EntryId(id)),
            Some(Look::Missing | Look::Disturbed) | None => {
                into.clear();
                None
            }
        }
    }

    /// What the caller wants to write, if it is not too large.
    fn draft<'a>(
        &self,
        (key, meta, body): (&'a [u8], &'a [u8], &'a [u8]),
        tags: Vec<u64>,
        expires: u64,
    ) -> Result<Draft<'a>, Refused> {
        if key.is_empty() {
            return Err(Refused::Key);
        }
        let parts = [key, meta, body].map(<[u8]>::len);
        let bytes = parts.into_iter().try_fold(0, usize::checked_add);
        let limit = self.entries.plan.entry_limit.min(u32::MAX as usize);
        if bytes.is_none_or(|bytes| bytes > limit) {
            return Err(Refused::TooLarge);
        }
        let seeds = (self.key_hash(key), self.entries.seed());
        let draft = Draft::new(seeds, (key, meta, body), tags, expires);
        match draft.blocks() <= self.entries.plan.most_blocks() {
            true => Ok(draft),
            false => Err(Refused::TooLarge),
        }
    }

    /// Writes an entry; the caller holds the lock.
    fn write(&self, draft: &Draft<'_>, id: Option<u64>, now: u64) -> Result<EntryId, Refused> {
        let Some(id) = self.entries.insert(draft, id, now) else {
            self.entries.recover();
            return Err(Refused::Damaged);
        };
        self.entries.memory.add(Header::Stored, 1);
        Ok(EntryId(id))
    }

    fn purge(&self, purge: Purge<'_>) -> Result<u64, LockError> {
        let last_id = {
            let _guard = self.lock()?;
            self.entries.begin_purge(purge)
        };
        let mut removed = 0;
        // A bound, so that even memory that another program has overwritten ends the purge.
        for _ in 0..=self.entries.plan.blocks() / PURGE_BATCH {
            // Others write between two batches.
            let _guard = self.lock()?;
            let batch = self.entries.remove_purged(purge, last_id, PURGE_BATCH);
            removed += batch;
            if batch < PURGE_BATCH as u64 {
                break;
            }
        }
        self.announce_if(true);
        Ok(removed)
    }

    fn announce_if(&self, has_happened: bool) {
        if has_happened {
            self.entries.memory.count(Header::Events);
            self.wake.wake();
        }
    }

    fn locked(&self) -> Result<Guard, Refused> {
        self.lock().map_err(Refused::Lock)
    }

    fn lock(&self) -> Result<Guard, LockError> {
        let guard = self.lock.lock()?;
        if self.entries.is_torn() {
            self.entries.recover();
        }
        Ok(guard)
    }

    fn key_hash(&self, key: &[u8]) -> u64 {
        self.hash(0, key)
    }

    fn tag_hash(&self, tag: &[u8]) -> u64 {
        self.hash(TAG, tag)
    }

    fn hash(&self, of: u64, bytes: &[u8]) -> u64 {
        let key = self.entries.hash_key();
        hash((key.0 ^ of, key.1), bytes)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("the key is empty"),
            Self::TooLarge => f.write_str("the entry is too large"),
            Self::Purged => f.write_str("it was purged while it was fetched"),
            Self::Gone => f.write_str("the entry is gone"),
            Self::Damaged => f.write_str("another program has overwritten the memory of the cache"),
            Self::Lock(error) => write!(f, "the lock of the cache cannot be taken: {error}"),
        }
    }
}

impl Error for Refused {}

#[cfg(loom)]
mod loom_model;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
