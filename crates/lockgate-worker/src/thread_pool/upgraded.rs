//! The calls that have taken their connection over: how many there are, and the switch interval that suits them.
//!
//! CPython wakes every thread that waits for the GIL once in each switch interval. A message to each of many WebSockets
//! makes all their threads wait for it at the same time: with 500 of them and an interval of 2 ms these wake-ups took
//! the whole processor, and the messages 3 s instead of 0.2 s.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The part of the interval for each call: twice what a wake-up takes.
const INTERVAL_FOR_EACH: Duration = Duration::from_micros(20);

/// No longer interval is chosen: a request that waits beside a call that computes waits for it.
const LONGEST_INTERVAL: Duration = Duration::from_millis(50);

/// See the module documentation.
pub(super) struct UpgradedCalls {
    count: AtomicUsize,
    /// As the application or the operator has it.
    configured: Duration,
    /// Nanoseconds, as it is now.
    interval: AtomicU64,
}

impl UpgradedCalls {
    pub(super) fn new(configured: Duration) -> Self {
        Self {
            count: AtomicUsize::new(0),
            configured,
            interval: AtomicU64::new(nanos(configured)),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// The switch interval as it is.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval.load(Ordering::Relaxed))
    }

    /// The switch interval to set, if it changes. The caller sets it.
    pub(super) fn new_interval(&self) -> Option<Duration> {
        let wanted = interval_for(self.configured, self.count());
        let before = self.interval.swap(nanos(wanted), Ordering::Relaxed);
        (before != nanos(wanted)).then_some(wanted)
    }
}

/// In steps, so that it changes seldom.
fn interval_for(configured: Duration, calls: usize) -> Duration {
    let step = u32::try_from(calls.next_power_of_two()).unwrap_or(u32::MAX);
    let wanted = INTERVAL_FOR_EACH.saturating_mul(step);
    configured.max(wanted.min(LONGEST_INTERVAL))
}

fn nanos(interval: Duration) -> u64 {
    // `switch_interval` is at most a second.
    u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_with_the_calls_between_the_configured_one_and_the_longest() {
        for (configured, calls, expected) in [
            (2_000, 0, 2_000),
            (2_000, 64, 2_000),
            (2_000, 65, 2_560),
            (2_000, 500, 10_240),
            (2_000, 2_000, 40_960),
            (2_000, 100_000, 50_000),
            (100, 0, 100),
            (100_000, 100_000, 100_000),
        ] {
            let interval = interval_for(Duration::from_micros(configured), calls);
            assert_eq!(
                interval,
                Duration::from_micros(expected),
                "{configured} {calls}"
            );
        }
    }

    #[test]
    fn a_change_is_reported_once() {
        let calls = UpgradedCalls::new(Duration::from_millis(2));
        let mut changes = 0;
        for _ in 0..500 {
            calls.begin();
            changes += usize::from(calls.new_interval().is_some());
        }
        assert_eq!(changes, 3);
        assert_eq!(calls.interval(), Duration::from_micros(10_240));
        (0..500).for_each(|_| calls.end());
        assert_eq!(calls.new_interval(), Some(Duration::from_millis(2)));
        assert_eq!((calls.new_interval(), calls.count()), (None, 0));
    }
}
