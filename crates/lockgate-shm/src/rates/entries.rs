//! The table of what was counted: sets of entries, in which the least used entry makes room for another key.
//!
//! An entry is evicted in the order of the part of its burst that is used. One that has paid off everything is worth
//! nothing, and one whose key is limited goes last: to have it forgotten, a client has to use up the bursts of as many
//! keys as a set has entries, without knowing which keys share a set.

use std::sync::atomic::{AtomicU64, Ordering};

use super::gcra::{Decision, GcraRate, Tick, decide};
use super::key::{KeyHash, RatedKey};
use super::layout::{ENTRY_WORDS, Field, SET_WORDS, ShownKey, WAYS, marked, value};
use super::tags::{claim, find, set_of};

/// See the module. A copy refers to the same memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entries {
    sets: &'static [AtomicU64],
    /// A bit for each set in which something was counted for other hosts.
    pub(super) dirty: &'static [AtomicU64],
}

/// A key that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offender {
    /// The limit and the rate: see [`scope`](super::scope).
    pub scope: u64,
    /// The hash of the key.
    pub key: KeyHash,
    /// What operators see of it.
    pub shown: ShownKey,
    /// How often it was refused, or would have been.
    pub refused: u64,
    /// When it was refused for the first time, in nanoseconds of the caller's clock.
    pub since: u64,
}

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) tag: u64,
    tag_word: &'static AtomicU64,
    words: &'static [AtomicU64; ENTRY_WORDS],
}

/// What became of a change of a marked word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Change {
    /// The value was this one before.
    Made(u64),
    /// The value is this one: there was none to change it to.
    Kept(u64),
    /// Another key has the entry: nothing counts, and nothing of that key was changed.
    Gone,
}

/// How often an entry may be taken away while a request is counted.
const MOST_ATTEMPTS: usize = 8;

/// Words of a bit for each of this many sets.
pub(super) fn dirty_words(sets: usize) -> usize {
    sets.div_ceil(64).next_multiple_of(8)
}

impl Entries {
    /// Divides the memory of this many sets.
    pub(super) fn new(words: &'static [AtomicU64], sets: usize) -> Self {
        let (sets, dirty) = words.split_at(words.len().min(sets * SET_WORDS));
        Self { sets, dirty }
    }

    pub(super) fn capacity(&self) -> u64 {
        (self.sets.len() / SET_WORDS * WAYS) as u64
    }

    #[inline]
    pub(super) fn examine(&self, key: &RatedKey, now: Tick) -> Decision {
        let entry = self.find(key.hash);
        let arrival = entry.map_or(Tick::default(), |entry| entry.arrival());
        decide(arrival, now, key.rate)
    }

    /// The second value says whether another key was forgotten that still owed something.
    #[inline]
    pub(super) fn count(&self, key: &RatedKey, now: Tick, is_exported: bool) -> (Decision, bool) {
        let mut has_evicted = false;
        for _ in 0..MOST_ATTEMPTS {
            let (entry, evicted) = self.find_or_claim(key.hash, now);
            has_evicted |= evicted;
            let Some(entry) = entry else {
                break;
            };
            entry.describe_if_new(key);
            let counted = entry.change_arrival(|arrival| {
                let decision = decide(arrival, now, key.rate);
                (decision == Decision::Allowed).then(|| key.rate.next(arrival, now))
            });
            match counted {
                Change::Kept(arrival) => {
                    return (decide(Tick(arrival), now, key.rate), has_evicted);
                }
                Change::Gone => {}
                Change::Made(_) => {
                    if is_exported {
                        let _added = entry.add(Field::Pending, 1);
                        self.mark_dirty(key.hash);
                    }
                    return (Decision::Allowed, has_evicted);
                }
            }
        }
        (Decision::Allowed, has_evicted)
    }

    pub(super) fn record_refusal(&self, key: &RatedKey, now: Tick) {
        let (Some(entry), _) = self.find_or_claim(key.hash, now) else {
            return;
        };
        entry.describe(key);
        // An entry that counts nothing but refusals goes in the order of the last one.
        let _later = entry.change_arrival(|arrival| (arrival < now).then_some(now));
        if let Change::Made(0) = entry.add(Field::Refused, 1) {
            let _since = entry.change(Field::RefusedSince, |_| Some(now.0));
        }
    }

    pub(super) fn offenders(&self) -> impl Iterator<Item = Offender> + use<> {
        let entries = *self;
        let sets = 0..self.sets.len() / SET_WORDS;
        sets.flat_map(move |set| entries.entries_of(set))
            .filter_map(|entry| entry.offender())
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for set in 0..self.sets.len() / SET_WORDS {
            let (tags, _) = self.set(set);
            for tag in tags {
                tag.store(0, Ordering::SeqCst);
            }
        }
    }

    /// The entry of a key, or one that becomes its. The second value is as of [`Entries::count`].
    fn find_or_claim(&self, key: KeyHash, now: Tick) -> (Option<Entry>, bool) {
        let set = set_of(key.place, self.sets.len() / SET_WORDS);
        let mut has_evicted = false;
        for _ in 0..MOST_ATTEMPTS {
            if let Some(entry) = self.find(key) {
                return (Some(entry), has_evicted);
            }
            let least = (self.entries_of(set).enumerate())
                .min_by_key(|(_, entry)| entry.order_of_eviction(now));
            let Some((place, least)) = least else {
                break;
            };
            let (tags, _) = self.set(set);
            let is_in_debt = least.tag != 0 && least.used(now) > 0;
            if claim(tags, place, least.tag, key.tag) {
                has_evicted |= is_in_debt;
                let entry = Entry {
                    tag: key.tag,
                    ..least
                };
                entry.reset(least);
                return (Some(entry), has_evicted);
            }
        }
        (None, has_evicted)
    }

    /// Takes the sets of a word in which something was counted, as bits.
    pub(super) fn take_dirty(&self, word: usize) -> u64 {
        let Some(word) = self.dirty.get(word) else {
            return 0;
        };
        match word.load(Ordering::Relaxed) {
            0 => 0,
            _ => word.swap(0, Ordering::SeqCst),
        }
    }

    /// After the count, so that either the process that takes it sees the count, or this one sees that the bit is gone.
    fn mark_dirty(&self, key: KeyHash) {
        let set = set_of(key.place, self.sets.len() / SET_WORDS);
        let bit = 1 << (set % 64);
        if let Some(word) = self.dirty.get(set / 64)
            && word.load(Ordering::SeqCst) & bit == 0
        {
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }

    #[inline]
    pub(super) fn find(&self, key: KeyHash) -> Option<Entry> {
        let (tags, entries) = self.set(set_of(key.place, self.sets.len() / SET_WORDS));
        let place = find(tags, key.tag)?;
        Some(Entry {
            tag: key.tag,
            tag_word: tags.get(place)?,
            words: entries.get(place)?,
        })
    }

    /// The tags and the entries of a set.
    #[inline]
    fn set(&self, set: usize) -> (&'static [AtomicU64], &'static [[AtomicU64; ENTRY_WORDS]]) {
        let words = self.sets.get(set * SET_WORDS..).unwrap_or_default();
        let words = words.get(..SET_WORDS).unwrap_or_default();
        let (tags, entries) = words.split_at(words.len().min(WAYS));
        (tags, entries.as_chunks().0)
    }

    /// All entries of a set, also the free ones.
    pub(super) fn entries_of(&self, set: usize) -> impl Iterator<Item = Entry> + use<> {
        let (tags, entries) = self.set(set);
        tags.iter().zip(entries).map(|(tag_word, words)| Entry {
            tag: tag_word.load(Ordering::SeqCst),
            tag_word,
            words,
        })
    }
}

impl Entry {
    #[inline]
    fn word(&self, name: Field) -> &'static AtomicU64 {
        let [arrival, pending, refused, since, place, rate, scope, shown] = self.words;
        match name {
            Field::Arrival => arrival,
            Field::Pending => pending,
            Field::Refused => refused,
            Field::RefusedSince => since,
            Field::Place => place,
            Field::Rate => rate,
            Field::Scope => scope,
            Field::Shown => shown,
        }
    }

    pub(super) fn get(&self, name: Field) -> u64 {
        self.word(name).load(Ordering::Acquire)
    }

    fn set(&self, name: Field, value: u64) {
        self.word(name).store(value, Ordering::Release);
    }

    /// The value of a marked word.
    #[inline]
    pub(super) fn value(&self, name: Field) -> u64 {
        value(self.tag, self.get(name))
    }

    #[inline]
    pub(super) fn arrival(&self) -> Tick {
        Tick(self.value(Field::Arrival))
    }

    /// Whether it is still the entry of its key.
    fn is_current(&self) -> bool {
        self.tag_word.load(Ordering::SeqCst) == self.tag
    }

    /// Changes a marked word, unless `next` gives no value.
    ///
    /// A process may be stopped between finding an entry and changing it, and another key may have the entry then.
    #[inline]
    fn change(&self, name: Field, next: impl Fn(u64) -> Option<u64>) -> Change {
        let word = self.word(name);
        let mut seen = word.load(Ordering::SeqCst);
        loop {
            // After the load: if another key takes the entry from here on and counts, the exchange fails.
            if !self.is_current() {
                return Change::Gone;
            }
            let before = value(self.tag, seen);
            let Some(after) = next(before) else {
                return Change::Kept(before);
            };
            let new = marked(self.tag, after);
            match word.compare_exchange(seen, new, Ordering::SeqCst, Ordering::SeqCst) {
                Err(newer) => seen = newer,
                // It was evicted meanwhile, and this change with it.
                Ok(_) if !self.is_current() => return Change::Gone,
                Ok(_) => return Change::Made(before),
            }
        }
    }

    /// Changes the theoretical arrival time, unless `next` gives none.
    #[inline]
    pub(super) fn change_arrival(&self, next: impl Fn(Tick) -> Option<Tick>) -> Change {
        self.change(Field::Arrival, |arrival| Some(next(Tick(arrival))?.0))
    }

    /// Adds to a marked word.
    fn add(&self, name: Field, number: u64) -> Change {
        self.change(name, |sum| Some(sum.saturating_add(number)))
    }

    /// What was counted for other hosts since this was called.
    pub(super) fn take_pending(&self) -> u64 {
        let word = self.word(Field::Pending);
        let change = |word| (value(self.tag, word) > 0).then(|| marked(self.tag, 0));
        let before = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
        before.map_or(0, |word| value(self.tag, word))
    }

    /// The words of the key that had the place before count no more, even if they are marked as this one's would be,
    /// which one of 4,096 is. Another process may have counted this key already.
    fn reset(&self, before: Self) {
        for name in [
            Field::Arrival,
            Field::Pending,
            Field::Refused,
            Field::RefusedSince,
        ] {
            let seen = before.get(name);
            if value(before.tag, seen) == 0 || value(self.tag, seen) == 0 {
                continue;
            }
            let none = marked(self.tag, 0);
            let _is_reset =
                (self.word(name)).compare_exchange(seen, none, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// The first count of a key says what it is: here, and not where the place is claimed, so that the death of the
    /// process that has claimed it does no harm.
    #[inline]
    fn describe_if_new(&self, key: &RatedKey) {
        if self.arrival() == Tick::default() {
            self.describe(key);
        }
    }

    fn describe(&self, key: &RatedKey) {
        self.set(Field::Place, key.hash.place);
        self.set(Field::Rate, key.rate.to_bits());
        self.set(Field::Scope, key.scope);
        self.set(Field::Shown, key.shown.to_bits());
    }

    /// How much of its burst is used.
    fn used(&self, now: Tick) -> u64 {
        let rate = GcraRate::from_bits(self.get(Field::Rate));
        rate.map_or(0, |rate| rate.used(self.arrival(), now))
    }

    /// The least goes first: free ones, then those that have paid off for the longest time.
    fn order_of_eviction(&self, now: Tick) -> (bool, u64, Tick) {
        match self.tag {
            0 => Default::default(),
            _ => (true, self.used(now), self.arrival()),
        }
    }

    fn offender(&self) -> Option<Offender> {
        let refused = self.value(Field::Refused);
        (self.tag != 0 && refused > 0).then(|| Offender {
            scope: self.get(Field::Scope),
            key: KeyHash::new(self.tag, self.get(Field::Place)),
            shown: ShownKey::from_bits(self.get(Field::Shown)),
            refused,
            since: Tick(self.value(Field::RefusedSince)).nanos(),
        })
    }
}
