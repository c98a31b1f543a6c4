//! The response cache: responses that every worker stores and answers from.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

use lockgate_config::CacheConfig;
use lockgate_observe::Level;
use lockgate_shm::responses::{ResponseStore, ResponseStorePlan};

use super::region::{Plan, Region};
use crate::Hooks;

/// The cache that the previous program in this process has left, if it has the same size, or a new one.
pub(super) fn open(
    inherited: Option<OwnedFd>,
    config: &CacheConfig,
    hooks: &dyn Hooks,
) -> Region<ResponseStore> {
    if config.memory == 0 {
        return Region::default();
    }
    let plan = plan(config);
    if let Some(responses) = inherited.and_then(|memory| Region::inherit(memory, &plan)) {
        return responses;
    }
    Region::create(&plan).unwrap_or_else(|error| {
        let message = format!(
            "cannot create the memory of the response cache: {error}; no response is stored"
        );
        hooks.log(Level::Error, &message);
        Region::default()
    })
}

/// A response cache without a supervisor, of this process and its forks, for as long as they run.
///
/// # Errors
/// When the system provides no memory.
pub fn standalone_responses(config: &CacheConfig) -> io::Result<ResponseStore> {
    let region = Region::create(&plan(config))?;
    region
        .get()
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn plan(config: &CacheConfig) -> ResponseStorePlan {
    ResponseStorePlan {
        memory: config.memory,
        entry_limit: config.entry_limit,
    }
}

impl Plan for ResponseStorePlan {
    type Content = ResponseStore;

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
    ) -> Option<ResponseStore> {
        ResponseStore::new(lock_words, words, self, secret)
    }
}

#[cfg(test)]
mod tests;
