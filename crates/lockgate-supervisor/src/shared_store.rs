//! The memory of the shared caches and locks, which all workers of all generations use.
//!
//! It is mapped before the first fork and handed over at an upgrade, so it lives as long as the server.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use lockgate_config::{CacheConfig, UwsgiConfig, WhenFull};
use lockgate_observe::Level;
use lockgate_shm::{CachePlan, Store, StorePlan};

use crate::Hooks;
use crate::os::{map_lock_words, map_words_after, shared_memory};

/// See the module. Empty where the settings need neither caches nor locks.
#[derive(Default)]
pub(crate) struct SharedStore {
    store: Option<Arc<Store>>,
    /// The memory, for the next program in this process.
    memory: Option<OwnedFd>,
}

/// Bytes of a page, also of the largest that Linux uses for a mapping's offset.
const PAGE: usize = 64 * 1024;

impl SharedStore {
    /// The store that the previous program in this process has left, if it is of the same plan, or a new one.
    pub(crate) fn new(inherited: Option<OwnedFd>, config: &UwsgiConfig, hooks: &dyn Hooks) -> Self {
        if !config.module {
            return Self::default();
        }
        let plan = plan(config);
        if let Some(memory) = inherited {
            match map(&memory, &plan) {
                Ok(Some(store)) => return Self::of(store, memory),
                Ok(None) | Err(_) => hooks.log(
                    Level::Warning,
                    "the shared caches begin empty: uwsgi_cache or uwsgi_locks has changed with the upgrade",
                ),
            }
        }
        match create(&plan) {
            Ok((store, memory)) => Self::of(store, memory),
            Err(error) => {
                let message = format!(
                    "cannot create the memory of the shared caches: {error}; uwsgi.cache_* and uwsgi.lock will fail"
                );
                hooks.log(Level::Error, &message);
                Self::default()
            }
        }
    }

    fn of(store: Store, memory: OwnedFd) -> Self {
        Self {
            store: Some(Arc::new(store)),
            memory: Some(memory),
        }
    }

    pub(crate) fn get(&self) -> Option<Arc<Store>> {
        self.store.clone()
    }

    /// A process of the server has ended, and perhaps held a lock.
    pub(crate) fn on_exit(&self) {
        if let Some(store) = &self.store {
            store.release_dead_locks();
        }
    }

    pub(crate) fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.memory.as_ref().map(AsFd::as_fd)
    }
}

/// The plan of these settings.
fn plan(config: &UwsgiConfig) -> StorePlan {
    let caches = config.caches.iter();
    StorePlan {
        caches: caches
            .map(|cache| (cache.name.clone(), cache_plan(cache)))
            .collect(),
        locks: config.locks as usize + 1,
    }
}

fn cache_plan(cache: &CacheConfig) -> CachePlan {
    CachePlan {
        items: cache.items as usize,
        blocks: cache.blocks as usize,
        block_size: cache.block_size as usize,
        key_size: cache.key_size as usize,
        spans_blocks: cache.spans_blocks,
        when_full: match cache.when_full {
            WhenFull::Refuse => lockgate_shm::WhenFull::Refuse,
            WhenFull::Evict => lockgate_shm::WhenFull::Evict,
            WhenFull::Clear => lockgate_shm::WhenFull::Clear,
        },
        initial_number: cache.initial_number,
    }
}

/// Bytes of the locks, which come first, in whole pages.
fn lock_bytes(plan: &StorePlan) -> usize {
    (plan.lock_words() * size_of::<u32>()).next_multiple_of(PAGE)
}

fn create(plan: &StorePlan) -> io::Result<(Store, OwnedFd)> {
    let words = lock_bytes(plan) / size_of::<u64>() + plan.words();
    let memory = shared_memory(words)?;
    let store = map(&memory, plan)?.ok_or(io::ErrorKind::InvalidData)?;
    Ok((store, memory))
}

/// The store in this memory; `None` when the memory has another plan.
fn map(memory: &OwnedFd, plan: &StorePlan) -> io::Result<Option<Store>> {
    let lock_words = map_lock_words(memory, plan.lock_words())?;
    let words = map_words_after(memory, lock_bytes(plan), plan.words())?;
    Ok(Store::new(lock_words, words, plan, random()?))
}

fn random() -> io::Result<(u64, u64)> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let [a, b] = [0, 8].map(|start| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[start..start + 8]);
        u64::from_le_bytes(word)
    });
    Ok((a, b))
}

#[cfg(test)]
mod tests;
