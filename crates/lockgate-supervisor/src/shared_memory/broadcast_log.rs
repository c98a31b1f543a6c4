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
mod tests {
    use super::*;
    use lockgate_shm::Read;

    fn settings(memory: usize) -> PushConfig {
        PushConfig {
            is_enabled: true,
            memory,
            ..PushConfig::default()
        }
    }

    #[test]
    fn the_next_program_finds_the_log_if_its_size_is_the_same() {
        let small = plan(&settings(1 << 20));
        let first = Region::create(&small).unwrap();
        let log = first.get().unwrap();
        log.append(b"news", b"1", b"hello", 7).unwrap();
        let memory = || first.memory().unwrap().try_clone_to_owned().unwrap();
        let again = Region::inherit(memory(), &small).unwrap().get().unwrap();
        let (mut cursor, mut record) = (again.oldest(), Vec::new());
        let read = again.read(&mut cursor, &mut record);
        let expected = Read::Record {
            sequence: 1,
            time: 7,
        };
        assert_eq!((read, record.as_slice()), (expected, b"hello".as_slice()));
        for other in [2 << 20, 1 << 19] {
            assert!(Region::inherit(memory(), &plan(&settings(other))).is_none());
        }
    }

    #[test]
    fn a_program_without_a_supervisor_has_a_log() {
        let log = standalone_broadcast_log(&settings(1 << 20)).unwrap();
        assert_eq!(log.append(b"a", b"", b"x", 0), Ok(1));
        assert_eq!(log.append(b"a", b"", b"y", 0), Ok(2));
    }
}
