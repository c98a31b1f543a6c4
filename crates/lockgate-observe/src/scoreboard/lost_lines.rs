//! Lines of logs that could not be written: a count for each log, to which every process adds.

/// Words of the region.
pub(super) const WORDS: usize = 8;

/// A log whose lines may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossyLog {
    /// The error log.
    Error,
    /// The access log.
    Access,
}

impl LossyLog {
    /// Every log.
    pub const ALL: [Self; 2] = [Self::Error, Self::Access];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Access => "access",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use crate::{LossyLog, Scoreboard};

    #[test]
    fn each_log_has_its_own_count() {
        let words = (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0)).collect();
        let scoreboard = Scoreboard::new(Vec::leak(words));
        scoreboard.count_lost_lines(LossyLog::Access, 3);
        scoreboard.count_lost_lines(LossyLog::Access, 4);
        scoreboard.count_lost_lines(LossyLog::Error, 1);
        assert_eq!(LossyLog::ALL.map(|log| scoreboard.lost_lines(log)), [1, 7]);
        let none = Scoreboard::new(Vec::leak(Vec::new()));
        none.count_lost_lines(LossyLog::Error, 1);
        assert_eq!(none.lost_lines(LossyLog::Error), 0);
    }
}
