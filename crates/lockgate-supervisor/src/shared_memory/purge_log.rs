//! The log of purges: what is purged on this server, for the relay that passes it on to other servers.

use std::os::fd::OwnedFd;

use lockgate_config::CacheConfig;
use lockgate_observe::Level;
use lockgate_shm::{Log, LogPlan};

use super::region::Region;
use crate::Hooks;

/// What is kept while Redis is away: more than 3,000 purges of usual length.
const PLAN: LogPlan = LogPlan {
    size: 512 * 1024,
    channels: 1,
};

/// The log that the previous program in this process has left, or a new one.
pub(super) fn open(
    inherited: Option<OwnedFd>,
    config: &CacheConfig,
    hooks: &dyn Hooks,
) -> Region<Log> {
    if !config.is_enabled() || config.redis.is_none() {
        return Region::default();
    }
    if let Some(log) = inherited.and_then(|memory| Region::inherit(memory, &PLAN)) {
        return log;
    }
    Region::create(&PLAN).unwrap_or_else(|error| {
        let message = format!(
            "cannot create the memory of the log of purges: {error}; a purge is for this server only"
        );
        hooks.log(Level::Error, &message);
        Region::default()
    })
}
