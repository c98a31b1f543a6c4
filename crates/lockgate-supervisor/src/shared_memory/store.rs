//! The shared caches and locks.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use lockgate_config::{UwsgiCacheConfig, UwsgiConfig, WhenFull};
use lockgate_observe::Level;
use lockgate_shm::{CachePlan, Store, StorePlan};

use super::region::{Plan, Region};
use crate::Hooks;

/// The store that the previous program in this process has left, if it is of the same plan, or a new one.
pub(super) fn open(
    inherited: Option<OwnedFd>,
    config: &UwsgiConfig,
    hooks: &dyn Hooks,
) -> Region<Arc<Store>> {
    if !config.module {
        return Region::default();
    }
    let plan = plan(config);
    if let Some(memory) = inherited {
        match Region::inherit(memory, &plan) {
            Some(store) => return store,
            None => hooks.log(
                Level::Warning,
                "the shared caches begin empty: uwsgi_cache or uwsgi_locks has changed with the upgrade",
            ),
        }
    }
    Region::create(&plan).unwrap_or_else(|error| {
        let message = format!(
            "cannot create the memory of the shared caches: {error}; uwsgi.cache_* and uwsgi.lock will fail"
        );
        hooks.log(Level::Error, &message);
        Region::default()
    })
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

fn cache_plan(cache: &UwsgiCacheConfig) -> CachePlan {
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

impl Plan for StorePlan {
    type Content = Arc<Store>;

    fn lock_words(&self) -> usize {
        self.lock_words()
    }

    fn words(&self) -> usize {
        self.words()
    }

    fn open(
        &self,
        lock_words: &'static [AtomicU32],
        words: &'static [AtomicU64],
        secret: (u64, u64),
    ) -> Option<Arc<Store>> {
        Store::new(lock_words, words, self, secret).map(Arc::new)
    }
}

#[cfg(test)]
mod tests;
