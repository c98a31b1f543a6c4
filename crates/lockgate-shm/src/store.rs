//! The store: one piece of memory, divided into locks and caches.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::cache::Cache;
use crate::lock::Lock;
use crate::table::{CachePlan, Table};

/// What is in a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorePlan {
    /// Caches, with their names.
    pub caches: Vec<(String, CachePlan)>,
    /// Number of locks.
    pub locks: usize,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Store {
    caches: Vec<(String, Cache)>,
    locks: Vec<Lock>,
}

/// A lock has a cache line of its own.
const LOCK_WORDS: usize = 16;
/// The header: a format number, and the signature of the plan.
const HEADER_WORDS: usize = 8;
/// Changes when the layout of a table does.
const FORMAT: u64 = 1;

impl StorePlan {
    /// How many 32-bit words the locks need.
    pub fn lock_words(&self) -> usize {
        (self.locks + self.caches.len()) * LOCK_WORDS
    }

    /// How many 64-bit words the header and the caches need.
    pub fn words(&self) -> usize {
        let tables = self.caches.iter().map(|(_, plan)| plan.words());
        HEADER_WORDS + tables.sum::<usize>()
    }

    /// Differs for plans whose memory cannot be exchanged.
    fn signature(&self) -> u64 {
        let mut bytes = Vec::new();
        for (name, plan) in &self.caches {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(&plan.signature().to_le_bytes());
        }
        crate::hash::hash((self.locks as u64, FORMAT), &bytes)
    }
}

impl Store {
    /// The store of this plan in memory that is all zero or holds a store of the same plan; `None` if it holds another
    /// one or is too small. `secret` is the key of the hash functions of a new store.
    pub fn new(
        lock_words: &'static [AtomicU32],
        words: &'static [AtomicU64],
        plan: &StorePlan,
        secret: (u64, u64),
    ) -> Option<Self> {
        let lock_words = lock_words.get(..plan.lock_words())?;
        let (header, mut words) = words.split_at_checked(HEADER_WORDS)?;
        let signature = plan.signature();
        let is_new = header[0].load(Ordering::Relaxed) == 0;
        if !is_new && header[0].load(Ordering::Relaxed) != signature {
            return None;
        }
        let mut locks = lock_words
            .chunks(LOCK_WORDS)
            .filter_map(|words| words.first())
            .map(Lock::new);
        let mut caches = Vec::new();
        for (name, plan) in &plan.caches {
            let (own, rest) = words.split_at_checked(plan.words())?;
            let table = Table::new(own, *plan)?;
            if is_new {
                table.set_hash_key(secret);
            }
            caches.push((name.clone(), Cache::new(table, locks.next()?)));
            words = rest;
        }
        header[0].store(signature, Ordering::Relaxed);
        Some(Self {
            caches,
            locks: locks.collect(),
        })
    }

    /// The cache of this name.
    pub fn cache(&self, name: &str) -> Option<Cache> {
        let mut caches = self.caches.iter();
        caches
            .find(|(known, _)| known == name)
            .map(|(_, cache)| *cache)
    }

    /// The first cache.
    pub fn first_cache(&self) -> Option<Cache> {
        self.caches.first().map(|(_, cache)| *cache)
    }

    /// All caches with their names.
    pub fn caches(&self) -> impl Iterator<Item = (&str, Cache)> {
        self.caches
            .iter()
            .map(|(name, cache)| (name.as_str(), *cache))
    }

    /// Releases the locks of dead threads for which no thread waits: see [`Lock::release_if_dead`].
    pub fn release_dead_locks(&self) {
        let of_caches = self.caches.iter().map(|(_, cache)| cache.own_lock());
        for lock in self.locks.iter().copied().chain(of_caches) {
            lock.release_if_dead();
        }
    }

    /// The lock of this number.
    pub fn lock(&self, number: usize) -> Option<Lock> {
        self.locks.get(number).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::WhenFull;

    fn plan(items: usize) -> StorePlan {
        let cache = CachePlan {
            items,
            blocks: items,
            block_size: 64,
            key_size: 16,
            spans_blocks: false,
            when_full: WhenFull::Refuse,
            initial_number: 0,
        };
        StorePlan {
            caches: vec![("a".to_owned(), cache), ("b".to_owned(), cache)],
            locks: 2,
        }
    }

    fn memory(plan: &StorePlan) -> (&'static [AtomicU32], &'static [AtomicU64]) {
        (
            Vec::leak((0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect()),
            Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect()),
        )
    }

    #[test]
    fn a_store_is_found_again_in_its_memory_and_caches_and_locks_are_separate() {
        let plan = plan(3);
        let (lock_words, words) = memory(&plan);
        let store = Store::new(lock_words, words, &plan, (1, 2)).unwrap();
        let cache = |store: &Store, name| store.cache(name).unwrap().lock().unwrap();
        cache(&store, "a").insert(b"k", b"v", 0, 0).unwrap();
        let again = Store::new(lock_words, words, &plan, (3, 4)).unwrap();
        assert_eq!(cache(&again, "a").get(b"k", 0).unwrap().value, b"v");
        assert_eq!(cache(&again, "b").get(b"k", 0), None);
        assert!(store.cache("c").is_none());
        assert_eq!(
            store.first_cache().unwrap().lock().unwrap().counts().items,
            1
        );
        let _first = store.lock(0).unwrap().lock().unwrap();
        assert!(again.lock(0).unwrap().try_lock().is_none());
        assert!(again.lock(1).unwrap().try_lock().is_some());
        assert!(store.lock(2).is_none());
        assert_eq!(
            store.caches().map(|(name, _)| name).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn memory_of_another_plan_is_refused() {
        let (small, large) = (plan(3), plan(4));
        let (lock_words, words) = memory(&large);
        assert!(Store::new(lock_words, words, &small, (1, 2)).is_some());
        assert!(Store::new(lock_words, words, &large, (1, 2)).is_none());
        let (lock_words, words) = memory(&small);
        assert!(Store::new(lock_words, words, &large, (1, 2)).is_none());
        assert!(Store::new(&[], words, &small, (1, 2)).is_none());
        // Entries of a table that keeps no order of use are in no list of a table that does.
        let mut other = small.clone();
        for (_, cache) in &mut other.caches {
            cache.when_full = WhenFull::Evict;
        }
        let (lock_words, words) = memory(&small);
        assert!(Store::new(lock_words, words, &small, (1, 2)).is_some());
        assert!(Store::new(lock_words, words, &other, (1, 2)).is_none());
    }
}
