//! The table of rate limits: what all workers have counted. It is always there, because a reload can add limits; its
//! pages are taken when something is counted.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

use lockgate_config::RateLimitsConfig;
use lockgate_observe::{Level, Scoreboard};
use lockgate_shm::{Rates, RatesPlan};

use super::region::{Plan, Region};
use crate::Hooks;

/// The table that the previous program in this process has left, if it has the same size, or a new one.
pub(super) fn open(
    inherited: Option<OwnedFd>,
    config: &RateLimitsConfig,
    hooks: &dyn Hooks,
) -> Region<Rates> {
    let plan = plan(config);
    if let Some(rates) = inherited.and_then(|memory| Region::inherit(memory, &plan)) {
        return rates;
    }
    Region::create(&plan).unwrap_or_else(|error| {
        let message = format!(
            "cannot create the memory of the rate limits: {error}; each worker counts its own requests"
        );
        hooks.log(Level::Error, &message);
        Region::default()
    })
}

fn plan(config: &RateLimitsConfig) -> RatesPlan {
    RatesPlan {
        memory: config.memory,
        workers: Scoreboard::MOST_WORKERS,
    }
}

impl Plan for RatesPlan {
    type Content = Rates;

    /// There is no lock, but a region begins with some.
    fn lock_words(&self) -> usize {
        1
    }

    fn words(&self) -> usize {
        self.words()
    }

    fn open(
        &self,
        _lock_words: &'static [AtomicU32],
        words: &'static [AtomicU64],
        secret: (u64, u64),
    ) -> Option<Rates> {
        Rates::new(words, self, secret)
    }
}

#[cfg(test)]
mod tests;
