//! Worker exits, counted by cause. Written by the supervisor only, read by any process.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Scoreboard;

/// Words of the region.
pub(super) const WORDS: usize = ExitCause::ALL.len().next_multiple_of(8);

/// Why a worker exited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCause {
    /// It was asked to exit, and did.
    Asked,
    /// It made no progress within `timeout`.
    Timeout,
    /// It was asked to exit, did not finish in time and was killed.
    Unfinished,
    /// It could not start.
    BootFailed,
    /// The kernel killed it because the control group had run out of memory.
    OutOfMemory,
    /// Something else killed it with SIGKILL.
    Killed,
    /// It crashed: another signal ended it.
    Signal,
    /// It exited by itself.
    Exited,
}

impl ExitCause {
    /// Every cause.
    pub const ALL: [Self; 8] = [
        Self::Asked,
        Self::Timeout,
        Self::Unfinished,
        Self::BootFailed,
        Self::OutOfMemory,
        Self::Killed,
        Self::Signal,
        Self::Exited,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Timeout => "timeout",
            Self::Unfinished => "unfinished",
            Self::BootFailed => "boot_failed",
            Self::OutOfMemory => "out_of_memory",
            Self::Killed => "killed",
            Self::Signal => "signal",
            Self::Exited => "exited",
        }
    }
}

impl Scoreboard {
    /// Counts a worker's exit.
    pub fn record_exit(self, cause: ExitCause) {
        if let Some(word) = self.exit_word(cause) {
            word.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many workers have exited for this cause.
    pub fn exits(self, cause: ExitCause) -> u64 {
        self.exit_word(cause)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn exit_word(self, cause: ExitCause) -> Option<&'static AtomicU64> {
        self.words.get(super::EXITS + cause as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_count_and_name() {
        let words: Vec<AtomicU64> = (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0)).collect();
        let scoreboard = Scoreboard::new(Vec::leak(words));
        for (index, cause) in ExitCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index);
            (0..=index).for_each(|_| scoreboard.record_exit(cause));
        }
        let counts = ExitCause::ALL.map(|cause| scoreboard.exits(cause));
        assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7, 8]);
        let names: std::collections::BTreeSet<_> = ExitCause::ALL.map(ExitCause::name).into();
        assert_eq!(names.len(), ExitCause::ALL.len());
        Scoreboard::new(&[]).record_exit(ExitCause::Asked);
    }
}
