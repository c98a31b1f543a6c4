//! Rate limits in words of shared memory: what all processes of a server have counted, for each key and rate, and how
//! many requests of a key are in flight.
//!
//! There is no lock: an entry is claimed by one exchange and counted by one exchange, so the death of a process at any
//! instruction leaves a table that counts. Moments are nanoseconds of a clock that all processes of the host share.

mod entries;
mod exchange;
mod gcra;
mod in_flight;
mod key;
mod layout;
mod plan;
mod tags;
mod totals;

use std::sync::atomic::{AtomicU64, Ordering};

pub use entries::Offender;
pub use exchange::Counted;
pub use gcra::{Decision, GcraRate, decide};
pub use in_flight::Place;
pub use key::{KeyHash, RatedKey, scope};
pub use layout::ShownKey;
pub use plan::RatesPlan;
pub use totals::{LimitTotals, TotalsRow};

use entries::Entries;
use gcra::Tick;
use in_flight::InFlight;
use layout::{HEADER_WORDS, Header};
use totals::Totals;

use crate::hash::hash;

/// See the module. A copy refers to the same memory.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    header: &'static [AtomicU64],
    totals: Totals,
    entries: Entries,
    in_flight: InFlight,
}

/// What has happened to the table since the start of the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RatesCounts {
    /// Entries that there is room for.
    pub capacity: u64,
    /// Keys that still owed something when they were forgotten to make room for others.
    pub evicted: u64,
    /// Requests of keys whose number in flight had no room: their limit of concurrency did not hold.
    pub uncounted: u64,
}

/// Whether a table exchanges counts with those of other hosts. Moments are as everywhere here; 0: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sharing {
    /// At the moment.
    pub is_connected: bool,
    /// Since when this is so.
    pub changed: u64,
    /// How many exchanges there were.
    pub exchanges: u64,
    /// When the last one was.
    pub exchanged: u64,
}

impl Rates {
    /// The table of this plan in memory that is all zero or holds a table of the same plan; `None` if it holds another
    /// one or is too small. `seed` is the secret of a new table.
    pub fn new(words: &'static [AtomicU64], plan: &RatesPlan, seed: (u64, u64)) -> Option<Self> {
        let (header, words) = words.split_at_checked(HEADER_WORDS)?;
        let (totals, words) = words.split_at_checked(totals::WORDS)?;
        let (entries, words) = words.split_at_checked(plan.entry_words())?;
        let rates = Self {
            header,
            totals: Totals::new(totals),
            entries: Entries::new(entries, plan.sets()),
            in_flight: InFlight::new(words.get(..plan.in_flight_words())?, plan.workers)?,
        };
        match rates.get(Header::Signature) {
            0 => {
                rates.set(Header::Seed, seed.0);
                rates.set(Header::Seed2, seed.1);
                rates.set(Header::Signature, plan.signature());
            }
            other if other != plan.signature() => return None,
            _ => {}
        }
        Some(rates)
    }

    /// The hash of a key under a scope.
    #[inline]
    pub fn key_hash(&self, scope: u64, key: &[u8]) -> KeyHash {
        let (first, second) = self.seed();
        KeyHash::new(
            hash((first, second ^ scope), key),
            hash((!first, second ^ scope), key),
        )
    }

    /// Whether a request of this key would be within its rate now. Counts nothing.
    #[inline]
    pub fn examine(&self, key: &RatedKey, now: u64) -> Decision {
        self.entries.examine(key, Tick::at(now))
    }

    /// Counts a request of this key, unless its rate is used up. `is_exported`: also for [`Rates::take_local`].
    #[inline]
    pub fn count(&self, key: &RatedKey, now: u64, is_exported: bool) -> Decision {
        let (decision, has_evicted) = self.entries.count(key, Tick::at(now), is_exported);
        if has_evicted {
            self.add(Header::Evicted);
        }
        decision
    }

    /// Records that a request of this key was refused, or would have been, for [`Rates::offenders`].
    pub fn record_refusal(&self, key: &RatedKey, now: u64) {
        self.entries.record_refusal(key, Tick::at(now));
    }

    /// The keys that were refused since they are known, in no order.
    pub fn offenders(&self) -> impl Iterator<Item = Offender> + use<> {
        self.entries.offenders()
    }

    /// Adds up to `most` entries that were counted here (`is_exported`) since they were last taken. Each count is taken
    /// once; the caller calls again while it gets `most`.
    pub fn take_local(&self, most: usize, now: u64, into: &mut Vec<Counted>) -> usize {
        self.entries.take_local(most, Tick::at(now), into)
    }

    /// What all hosts have counted under the key of `counted`, which was taken from this table, is paid off `owed`
    /// nanoseconds after `now`, without what was not taken yet. The table never owes less for it. Hosts may so have
    /// counted more than the rate allows: then the key waits.
    pub fn raise(&self, counted: &Counted, owed: u64, now: u64) {
        self.entries.raise(counted, Tick::at(owed), Tick::at(now));
    }

    /// Whether counts are exchanged with other hosts.
    pub fn sharing(&self) -> Sharing {
        Sharing {
            is_connected: self.get(Header::Connected) != 0,
            changed: self.get(Header::ConnectionChanged),
            exchanges: self.get(Header::Exchanges),
            exchanged: self.get(Header::Exchanged),
        }
    }

    /// Counts are exchanged with other hosts from `now` on, or no more.
    pub fn set_connected(&self, is_connected: bool, now: u64) {
        self.set(Header::Connected, is_connected.into());
        self.set(Header::ConnectionChanged, now);
    }

    /// Counts were exchanged with other hosts.
    pub fn record_exchange(&self, now: u64) {
        self.add(Header::Exchanges);
        self.set(Header::Exchanged, now);
    }

    /// The secret of the hashes.
    pub fn seed(&self) -> (u64, u64) {
        (self.get(Header::Seed), self.get(Header::Seed2))
    }

    /// Makes the secret of other hosts that of this table, so that they have the same hashes for the same keys. If it is
    /// another one, all that was counted is forgotten.
    pub fn adopt_seed(&self, seed: (u64, u64)) {
        if self.seed() != seed {
            self.set(Header::Seed, seed.0);
            self.set(Header::Seed2, seed.1);
            self.entries.clear();
        }
    }

    /// The process in this worker slot is `process` from now on, and has nothing in flight.
    pub fn enter(&self, slot: usize, process: u32) {
        self.in_flight.enter(slot, process);
    }

    /// A process has ended: what it had in flight is released.
    pub fn release_of_dead(&self, process: u32) {
        self.in_flight.release_of_dead(process);
    }

    /// Takes a place among `most` requests of this key that may be in flight at the same time, for the process in this
    /// worker slot. `None`: all are taken. Given back with [`Rates::release`].
    pub fn acquire(&self, key: KeyHash, slot: usize, most: u32) -> Option<Place> {
        let place = self.in_flight.acquire(key, slot, most);
        if place.is_some_and(|place| !place.is_counted()) {
            self.add(Header::Uncounted);
        }
        place
    }

    /// Gives a place back.
    pub fn release(&self, place: Place) {
        self.in_flight.release(place);
    }

    /// How many requests of this key are in flight.
    pub fn in_flight(&self, key: KeyHash) -> u64 {
        self.in_flight.number(key)
    }

    /// Where the refused requests of the limit of this scope are counted, which operators see by this name; `None` if
    /// there were too many limits since the start of the server.
    pub fn open_totals(&self, scope: u64, name: &str) -> Option<TotalsRow> {
        self.totals.open(scope, name)
    }

    /// What all limits have done since the start of the server.
    pub fn totals(&self) -> impl Iterator<Item = LimitTotals> + use<> {
        self.totals.all()
    }

    /// See [`RatesCounts`].
    pub fn counts(&self) -> RatesCounts {
        RatesCounts {
            capacity: self.entries.capacity(),
            evicted: self.get(Header::Evicted),
            uncounted: self.get(Header::Uncounted),
        }
    }

    fn get(&self, name: Header) -> u64 {
        let word = self.header.get(name as usize);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn set(&self, name: Header, value: u64) {
        if let Some(word) = self.header.get(name as usize) {
            word.store(value, Ordering::Release);
        }
    }

    fn add(&self, name: Header) {
        if let Some(word) = self.header.get(name as usize) {
            word.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
