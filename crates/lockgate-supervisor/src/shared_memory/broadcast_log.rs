//! The broadcast log: published messages, which every worker reads and delivers to its held connections.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

use lockgate_config::PushConfig;
use lockgate_observe::Level;
use lockgate_shm::{Log, LogPlan};

use super::region::{Plan, Region};
use crate::Hooks;

/// Channels with a chain of their own, which is what a client that reconnects searches. 512 KiB of addresses.
const CHANNELS: usize = 65_536;

/// The log that the previous program in this process has left, if it has the same size, or a new one.
pub(super) fn open(
    inherited: Option<OwnedFd>,
    config: &PushConfig,
    hooks: &dyn Hooks,
) -> Region<Log> {
    if !config.is_enabled {
        return Region::default();
    }
    let plan = plan(config);
    if let Some(memory) = inherited {
        match Region::inherit(memory, &plan) {
            Some(log) => return log,
            None => hooks.log(
                Level::Warning,
                "the broadcast log begins empty: push_memory has changed with the upgrade",
            ),
        }
    }
    Region::create(&plan).unwrap_or_else(|error| {
        let message = format!(
            "cannot create the memory of the broadcast log: {error}; lockgate.publish will fail and no response is held"
        );
        hooks.log(Level::Error, &message);
        Region::default()
    })
}

/// A broadcast log without a supervisor, of this process and its forks, for as long as they run.
///
/// # Errors
/// When the system provides no memory.
pub fn standalone_broadcast_log(config: &PushConfig) -> io::Result<Log> {
    let region = Region::create(&plan(config))?;
    region
        .get()
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn plan(config: &PushConfig) -> LogPlan {
    LogPlan {
        size: config.memory,
        channels: CHANNELS,
    }
}

impl Plan for LogPlan {
    type Content = Log;

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
    ) -> Option<Log> {
        Log::new(lock_words, words, *self, secret)
    }
}

#[cfg(test)]
mod tests;
