//! Kernel time: the monotonic clock, which all processes share, the time of certificates, and the timeouts of poll(2).

use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::time::{ClockId, clock_gettime};

/// The time of the monotonic clock.
pub(crate) fn monotonic() -> Duration {
    // The monotonic clock is never negative.
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// The same in nanoseconds, as on the scoreboard.
pub(crate) fn monotonic_nanos() -> u64 {
    u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX)
}

/// A timeout for poll(2).
pub(crate) fn timespec(timeout: Duration) -> Timespec {
    Timespec::try_from(timeout).unwrap_or(Timespec {
        tv_sec: i64::MAX,
        tv_nsec: 0,
    })
}

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) monotonic: Instant,
    /// Seconds since 1970.
    pub(crate) unix_seconds: i64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            unix_seconds: clock_gettime(ClockId::Realtime).tv_sec,
        }
    }
}
