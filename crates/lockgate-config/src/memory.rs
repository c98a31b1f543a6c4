//! Memory bounds of a worker: as written, and in bytes on a known host.

use crate::host::Host;
use crate::notation::{quoted, size_text, size_words};

/// How the memory of a worker is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryMeasure {
    /// Resident set size: shared pages count in full.
    Rss,
    /// Proportional set size: a shared page is divided among the processes that share it.
    Pss,
}

impl MemoryMeasure {
    /// Every choice, in the order of the reference.
    pub const ALL: [Self; 2] = [Self::Rss, Self::Pss];

    /// Its name, as the setting takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rss => "rss",
            Self::Pss => "pss",
        }
    }
}

/// A bound for one worker, as the operator wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryBound {
    /// In bytes; 0: none.
    Bytes(u64),
    /// Hundredths of a per cent of the memory that all workers together may use.
    Share(u32),
}

/// Hundredths of a per cent in a whole.
pub(crate) const WHOLE: u32 = 10_000;

impl MemoryBound {
    /// The bound in bytes.
    pub(crate) fn bytes(self, host: &Host) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Share(share) => {
                let bytes = u128::from(host.memory()) * u128::from(share) / u128::from(WHOLE);
                u64::try_from(bytes).unwrap_or(u64::MAX)
            }
        }
    }

    /// The bound as written in the file.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Bytes(bytes) => size_text(bytes),
            Self::Share(share) => quoted(&percent_words(share)),
        }
    }

    /// How the bytes were computed; `None` if the bound was given in bytes.
    pub(crate) fn reason(self, host: &Host) -> Option<String> {
        match self {
            Self::Bytes(_) => None,
            Self::Share(_) => Some(format!(
                "{} of {}",
                size_words(self.bytes(host) >> 20 << 20),
                host.memory_words()
            )),
        }
    }
}

/// `25%`, `2.5%`, `0.05%`.
pub fn percent_words(hundredths: u32) -> String {
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match rest {
        0 => format!("{whole}%"),
        rest if rest.is_multiple_of(10) => format!("{whole}.{}%", rest / 10),
        rest => format!("{whole}.{rest:02}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gil;

    const GIB: u64 = 1 << 30;

    fn host(memory_limit: Option<u64>) -> Host {
        Host {
            affinity: 1,
            cpu_quota: None,
            memory_limit,
            memory_total: 8 * GIB,
            gil: Gil::Always,
            measures_memory: true,
        }
    }

    #[test]
    fn a_share_is_one_of_the_control_groups_limit_or_else_of_the_host() {
        let cases = [
            (MemoryBound::Bytes(7), None, 7),
            (MemoryBound::Bytes(0), Some(GIB), 0),
            (MemoryBound::Share(2500), None, 2 * GIB),
            (MemoryBound::Share(2500), Some(GIB), GIB / 4),
            (MemoryBound::Share(2500), Some(64 * GIB), 2 * GIB),
            (MemoryBound::Share(WHOLE), Some(u64::MAX), 8 * GIB),
            (MemoryBound::Share(1250), Some(GIB), GIB / 8),
        ];
        for (bound, limit, bytes) in cases {
            assert_eq!(bound.bytes(&host(limit)), bytes, "{bound:?} {limit:?}");
        }
    }

    #[test]
    fn a_share_says_what_it_comes_to_and_of_what() {
        let words = |limit| MemoryBound::Share(2500).reason(&host(limit)).unwrap();
        assert_eq!(
            words(Some(GIB)),
            "256MiB of the control group's limit of 1.0 GiB"
        );
        assert_eq!(words(None), "2GiB of the host's memory of 8.0 GiB");
        assert_eq!(MemoryBound::Bytes(5).reason(&host(None)), None);
    }

    #[test]
    fn a_percentage_is_written_as_short_as_it_can_be() {
        let cases = [
            (1, "0.01%"),
            (50, "0.5%"),
            (500, "5%"),
            (1250, "12.5%"),
            (1205, "12.05%"),
            (WHOLE, "100%"),
        ];
        for (hundredths, words) in cases {
            assert_eq!(percent_words(hundredths), words);
        }
    }
}
