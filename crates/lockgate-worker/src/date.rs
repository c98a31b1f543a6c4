//! The `Date` field (RFC 9110 §6.6.1) and wall-clock stamps for logs, made once a second per thread.

use std::cell::RefCell;
use std::time::Duration;

use lockgate_observe::{WallTime, imf_fixdate};
use rustix::time::{ClockId, clock_gettime};

/// The last date made by this thread.
#[derive(Debug, Default)]
struct DateCache {
    second: i64,
    text: [u8; 29],
    is_filled: bool,
}

impl DateCache {
    /// The current IMF-fixdate. The coarse clock (a few ns, at most one kernel tick old) is what a second needs.
    fn now(&mut self) -> &[u8] {
        self.at(clock_gettime(ClockId::RealtimeCoarse).tv_sec)
    }

    /// Any other second is another date, also an earlier one: a clock that is set back is followed at once.
    fn at(&mut self, second: i64) -> &[u8] {
        if second != self.second || !self.is_filled {
            self.text = imf_fixdate(second);
            self.second = second;
            self.is_filled = true;
        }
        &self.text
    }
}

thread_local! {
    static DATE: RefCell<DateCache> = RefCell::default();
}

/// Hands this thread's cached date to `use_it`.
pub fn with_date<R>(use_it: impl FnOnce(&[u8]) -> R) -> R {
    DATE.with_borrow_mut(|cache| use_it(cache.now()))
}

/// The wall clock for a log line, in UTC: what a fleet of machines can compare.
pub fn wall_time() -> WallTime {
    let now = clock_gettime(ClockId::Realtime);
    WallTime {
        unix_seconds: now.tv_sec,
        microseconds: u32::try_from(now.tv_nsec / 1000).unwrap_or(0),
        utc_offset_seconds: 0,
    }
}

/// The wall clock so long ago.
pub fn wall_time_before(ago: Duration) -> WallTime {
    let now = wall_time();
    let micros = now.unix_seconds * 1_000_000 + i64::from(now.microseconds)
        - i64::try_from(ago.as_micros()).unwrap_or(0);
    WallTime {
        unix_seconds: micros.div_euclid(1_000_000),
        microseconds: u32::try_from(micros.rem_euclid(1_000_000)).unwrap_or(0),
        ..now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_follows_a_clock_that_is_set_forward_or_back() {
        let mut cache = DateCache::default();
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_700_000_000, "Tue, 14 Nov 2023 22:13:20 GMT"),
            (1_700_000_000, "Tue, 14 Nov 2023 22:13:20 GMT"),
            (1_699_996_400, "Tue, 14 Nov 2023 21:13:20 GMT"),
            (4_000_000_000, "Tue, 02 Oct 2096 07:06:40 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            assert_eq!(cache.at(second), text.as_bytes());
        }
    }
}
