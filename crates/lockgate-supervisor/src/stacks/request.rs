//! What a worker is asked for, and the word in which it is passed.

use std::time::Duration;

/// Longest profile: what one word can hold, rounded down.
pub const LONGEST_PROFILE: Duration = Duration::from_secs(600);

/// Bits of the kind and of the rate; the rest is the duration in milliseconds.
const KIND_BITS: u32 = 2;
const RATE_BITS: u32 = 10;
const MOST_RATE: u32 = (1 << RATE_BITS) - 1;

/// What a worker is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackRequest {
    /// The stacks of all threads, as `faulthandler` writes them.
    Dump,
    /// One sample of all threads: an encoded `lockgate_profile::Sample`.
    Sample,
    /// Samples of all threads: an encoded `lockgate_profile::Profile`.
    Profile {
        /// For how long, at most [`LONGEST_PROFILE`].
        duration: Duration,
        /// Samples a second, 1 to 1000.
        rate: u32,
    },
}

impl StackRequest {
    /// The place that is asked: a profile takes long.
    pub(super) fn lane(self) -> usize {
        match self {
            Self::Dump | Self::Sample => 0,
            Self::Profile { .. } => super::PROFILES,
        }
    }

    /// When the asking process checks for answers again: rarely until they are due, since a thousand checks a second
    /// take 6 % of the requests of a worker on the same core.
    pub(super) fn check_after(self, elapsed: Duration) -> Duration {
        const SOON: Duration = Duration::from_millis(1);
        const RARELY: Duration = Duration::from_millis(100);
        match self {
            Self::Dump | Self::Sample => SOON,
            Self::Profile { duration, .. } => duration.saturating_sub(elapsed).clamp(SOON, RARELY),
        }
    }

    pub(super) fn word(self) -> u32 {
        match self {
            Self::Dump => 0,
            Self::Sample => 1,
            Self::Profile { duration, rate } => {
                // At most 600,000: 20 bits.
                let milliseconds = duration.min(LONGEST_PROFILE).as_millis() as u32;
                let rate = rate.clamp(1, MOST_RATE.min(1000));
                2 | rate << KIND_BITS | milliseconds << (KIND_BITS + RATE_BITS)
            }
        }
    }

    pub(super) fn from_word(word: u32) -> Self {
        match word & 3 {
            0 => Self::Dump,
            1 => Self::Sample,
            _ => Self::Profile {
                duration: Duration::from_millis((word >> (KIND_BITS + RATE_BITS)).into()),
                rate: (word >> KIND_BITS & MOST_RATE).max(1),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_looked_for_when_they_are_due() {
        let profile = StackRequest::Profile {
            duration: Duration::from_secs(10),
            rate: 100,
        };
        for (request, elapsed, expected) in [
            (StackRequest::Sample, 0, 1),
            (StackRequest::Dump, 2000, 1),
            (profile, 0, 100),
            (profile, 9_950, 50),
            (profile, 9_999, 1),
            (profile, 12_000, 1),
        ] {
            let found = request.check_after(Duration::from_millis(elapsed));
            assert_eq!(found, Duration::from_millis(expected), "{request:?}");
        }
    }

    #[test]
    fn a_request_fits_into_a_word() {
        let profile = |milliseconds, rate| StackRequest::Profile {
            duration: Duration::from_millis(milliseconds),
            rate,
        };
        for (request, read) in [
            (StackRequest::Dump, StackRequest::Dump),
            (StackRequest::Sample, StackRequest::Sample),
            (profile(10_000, 100), profile(10_000, 100)),
            (profile(600_000, 1000), profile(600_000, 1000)),
            (profile(u64::MAX, u32::MAX), profile(600_000, 1000)),
            (profile(0, 0), profile(0, 1)),
        ] {
            assert_eq!(StackRequest::from_word(request.word()), read);
        }
    }
}
