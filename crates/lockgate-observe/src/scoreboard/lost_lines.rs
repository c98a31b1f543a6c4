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
