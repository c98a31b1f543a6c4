//! The `Date` field (RFC 9110 §6.6.1), cached per thread for a second, and wall-clock timestamps for logs.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lockgate_config::LogTimezone;
use lockgate_observe::{WallTime, imf_fixdate};
use rustix::time::{ClockId, clock_gettime};

use crate::os::COARSE_REALTIME;

/// The last date formatted by this thread.
#[derive(Debug, Default)]
struct DateCache {
    second: i64,
    text: [u8; 29],
    is_filled: bool,
}

impl DateCache {
    /// The current IMF-fixdate. The coarse clock (a few ns, at most one kernel tick old) is precise enough for seconds.
    fn now(&mut self) -> &[u8] {
        self.at(clock_gettime(COARSE_REALTIME).tv_sec)
    }

    /// Any other second makes a new date, an earlier one too: a clock that is set back is followed at once.
    fn at(&mut self, second: i64) -> &[u8] {
        if second != self.second || !self.is_filled {
            self.text = imf_fixdate(second);
            self.second = second;
            self.is_filled = true;
        }
        &self.text
    }
}

/// Seconds since 1970, for what expires at a time that others read.
pub fn unix_seconds() -> u64 {
    // Before 1970 nothing has expired.
    u64::try_from(clock_gettime(COARSE_REALTIME).tv_sec).unwrap_or(0)
}

/// The precise time since 1970, for what other programs compare with their clocks. A clock before 1970 is at its start.
pub fn since_1970() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Realtime)).unwrap_or_default()
}

thread_local! {
    static DATE: RefCell<DateCache> = RefCell::default();
}

/// Hands this thread's cached date to `use_it`.
pub fn with_date<R>(use_it: impl FnOnce(&[u8]) -> R) -> R {
    DATE.with_borrow_mut(|cache| use_it(cache.now()))
}

/// The time zone of a log.
#[derive(Debug, Clone)]
pub enum Zone {
    Utc,
    /// With daylight saving rules: it may begin and end during the life of a process.
    Local(TimeZone),
}

impl Zone {
    /// Reads the time zone rules, if there are any.
    ///
    /// # Errors
    /// When the system does not say which zone is the local one, or has no rules for it.
    pub fn open(zone: LogTimezone) -> io::Result<Self> {
        match zone {
            LogTimezone::Utc => Ok(Self::Utc),
            LogTimezone::LocalIfKnown => Ok(TimeZone::try_system().map_or(Self::Utc, Self::Local)),
            LogTimezone::Local => TimeZone::try_system()
                .map(Self::Local)
                .map_err(io::Error::other),
        }
    }

    /// The wall clock for a log line.
    pub fn now(&self) -> WallTime {
        self.before(Duration::ZERO)
    }

    /// The wall clock, `ago` before now.
    pub fn before(&self, ago: Duration) -> WallTime {
        let now = clock_gettime(ClockId::Realtime);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000
            - i64::try_from(ago.as_micros()).unwrap_or(0);
        let unix_seconds = micros.div_euclid(1_000_000);
        WallTime {
            unix_seconds,
            microseconds: u32::try_from(micros.rem_euclid(1_000_000)).unwrap_or(0),
            utc_offset_seconds: self.offset(unix_seconds),
        }
    }

    /// The UTC offset of local time at that moment, in seconds.
    fn offset(&self, unix_seconds: i64) -> i32 {
        match self {
            Self::Utc => 0,
            Self::Local(zone) => Timestamp::from_second(unix_seconds)
                .map_or(0, |moment| zone.to_offset(moment).seconds()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_follows_daylight_saving_time() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let zone = Zone::Local(berlin);
        for (unix_seconds, offset) in [
            (1_767_225_600, 3600),
            // 2026-03-29 01:00 UTC, and the second before.
            (1_774_745_999, 3600),
            (1_774_746_000, 7200),
            (1_792_889_999, 7200),
            (1_792_890_000, 3600),
        ] {
            assert_eq!(zone.offset(unix_seconds), offset, "{unix_seconds}");
            assert_eq!(Zone::Utc.offset(unix_seconds), 0);
        }
        let (now, before) = (zone.now(), zone.before(Duration::from_secs(3600)));
        assert!((3600..=3602).contains(&(now.unix_seconds - before.unix_seconds)));
    }

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
