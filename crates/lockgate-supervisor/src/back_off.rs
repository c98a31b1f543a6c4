//! Back-off: how long a slot waits before its next attempt. The caller provides the clock.
//!
//! The first repeat waits 0.5 s, each further one twice as long, at most 30 s.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The failures of a slot since its last healthy worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BackOff {
    /// The number of delays so far.
    delays: u32,
    /// A failure was counted, so the next replacement has to wait.
    has_failed: bool,
}

impl BackOff {
    /// Clears the failures: the last worker was healthy.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Counts a failed attempt; returns the delay before the next one.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let wait = step(self.delays);
        self.delays = self.delays.saturating_add(1);
        self.has_failed = true;
        wait
    }

    /// Counts the death of a worker that had served: after the first death there is no delay.
    pub(crate) fn after_service(&mut self) -> Duration {
        if self.has_failed {
            return self.after_failure();
        }
        self.has_failed = true;
        Duration::ZERO
    }
}

fn step(doublings: u32) -> Duration {
    FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(waits: impl Iterator<Item = Duration>) -> Vec<u128> {
        waits.map(|wait| wait.as_millis()).collect()
    }

    #[test]
    fn the_delay_doubles_up_to_thirty_seconds() {
        let mut back_off = BackOff::default();
        let waits = millis((0..9).map(|_| back_off.after_failure()));
        assert_eq!(
            waits,
            [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]
        );
    }

    #[test]
    fn the_first_death_after_service_has_no_delay_and_the_next_ones_have() {
        let mut back_off = BackOff::default();
        let waits = millis((0..5).map(|_| back_off.after_service()));
        assert_eq!(waits, [0, 500, 1000, 2000, 4000]);
    }

    #[test]
    fn a_failure_and_a_death_after_service_share_one_schedule() {
        let mut back_off = BackOff::default();
        back_off.after_service();
        assert_eq!(back_off.after_failure().as_millis(), 500);
        let mut back_off = BackOff::default();
        back_off.after_failure();
        assert_eq!(back_off.after_service().as_millis(), 1000);
    }

    #[test]
    fn a_reset_starts_over() {
        let mut back_off = BackOff::default();
        back_off.after_failure();
        back_off.after_failure();
        back_off.reset();
        assert_eq!(back_off.after_failure().as_millis(), 500);
    }

    #[test]
    fn endless_failures_do_not_overflow() {
        let mut back_off = BackOff {
            delays: u32::MAX,
            has_failed: true,
        };
        assert_eq!(back_off.after_failure(), LONGEST);
        assert_eq!(back_off.after_service(), LONGEST);
    }
}
