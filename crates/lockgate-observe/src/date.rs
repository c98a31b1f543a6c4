//! Timestamps in the formats of HTTP and the logs, from seconds that the caller passes.
//!
//! Invariant: every text has a fixed width, because years are clamped to 0000 to 9999.

/// Three letters per day, from Thursday: 1970-01-01 was one.
const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const SECONDS_PER_DAY: i64 = 86_400;
/// 0000-01-01 00:00:00 and 9999-12-31 23:59:59 in seconds since 1970: the range of four-digit years.
const FIRST_SECOND: i64 = -62_167_219_200;
const LAST_SECOND: i64 = 253_402_300_799;

/// A point in wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallTime {
    /// Seconds since 1970-01-01 00:00:00 UTC, without leap seconds.
    pub unix_seconds: i64,
    /// Microseconds within that second, 0 to 999,999.
    pub microseconds: u32,
    /// How far local time is ahead of UTC, in seconds; negative west of Greenwich.
    pub utc_offset_seconds: i32,
}

/// The date of an HTTP header, always GMT (RFC 9110 §5.6.7): `Sun, 22 Nov 2026 14:32:23 GMT`.
pub fn imf_fixdate(unix_seconds: i64) -> [u8; 29] {
    let civil = Civil::from_unix(unix_seconds);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[0..3].copy_from_slice(civil.weekday);
    text[5..7].copy_from_slice(&two_digits(civil.day));
    text[8..11].copy_from_slice(civil.month_name());
    text[12..16].copy_from_slice(&four_digits(civil.year));
    text[17..25].copy_from_slice(&civil.clock());
    text
}

impl WallTime {
    /// The common log format's time, brackets included: `[22/Nov/2026:14:32:23 +0000]`.
    pub(crate) fn common_log(&self) -> [u8; 28] {
        let civil = self.local();
        let mut text = *b"[01/Jan/1970:00:00:00 +0000]";
        text[1..3].copy_from_slice(&two_digits(civil.day));
        text[4..7].copy_from_slice(civil.month_name());
        text[8..12].copy_from_slice(&four_digits(civil.year));
        text[13..21].copy_from_slice(&civil.clock());
        text[22..27].copy_from_slice(&self.offset());
        text
    }

    /// The error log's time, brackets included: `[2026-11-22 14:32:23 +0000]`.
    pub(crate) fn event_log(&self) -> [u8; 27] {
        let civil = self.local();
        let mut text = *b"[1970-01-01 00:00:00 +0000]";
        text[1..11].copy_from_slice(&civil.calendar());
        text[12..20].copy_from_slice(&civil.clock());
        text[21..26].copy_from_slice(&self.offset());
        text
    }

    /// The local time of day: `14:32:23`.
    pub(crate) fn clock(&self) -> [u8; 8] {
        self.local().clock()
    }

    /// RFC 3339 with microseconds, as JSON readers want it: `2026-11-22T14:32:23.000042+00:00`.
    pub(crate) fn rfc3339(&self) -> [u8; 32] {
        let civil = self.local();
        let offset = self.offset();
        let mut text = *b"1970-01-01T00:00:00.000000+00:00";
        text[0..10].copy_from_slice(&civil.calendar());
        text[11..19].copy_from_slice(&civil.clock());
        text[20..26].copy_from_slice(&six_digits(self.microseconds));
        text[26..29].copy_from_slice(&offset[0..3]);
        text[30..32].copy_from_slice(&offset[3..5]);
        text
    }

    /// This point, `duration` later.
    pub(crate) fn after(&self, duration: std::time::Duration) -> Self {
        let microseconds = self.microseconds.min(999_999) + duration.subsec_micros();
        let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let carry = i64::from(microseconds / 1_000_000);
        Self {
            unix_seconds: self
                .unix_seconds
                .saturating_add(seconds)
                .saturating_add(carry),
            microseconds: microseconds % 1_000_000,
            utc_offset_seconds: self.utc_offset_seconds,
        }
    }

    fn local(&self) -> Civil {
        Civil::from_unix(
            self.unix_seconds
                .saturating_add(i64::from(self.utc_offset_seconds)),
        )
    }

    fn offset(&self) -> [u8; 5] {
        let minutes = self.utc_offset_seconds.unsigned_abs() / 60;
        let mut text = *b"+0000";
        if self.utc_offset_seconds < 0 {
            text[0] = b'-';
        }
        text[1..3].copy_from_slice(&two_digits(minutes / 60));
        text[3..5].copy_from_slice(&two_digits(minutes % 60));
        text
    }
}

pub(crate) fn six_digits(number: u32) -> [u8; 6] {
    let mut text = [b'0'; 6];
    let mut rest = number % 1_000_000;
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}

/// A day of the Gregorian calendar and a time of that day, without a zone.
struct Civil {
    year: u32,
    month: u32,
    day: u32,
    second_of_day: u32,
    weekday: &'static [u8; 3],
}

impl Civil {
    /// Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is the last one,
    /// and 400 years are one era of 146,097 days. Exact for every date, with no table and no loop.
    fn from_unix(unix_seconds: i64) -> Self {
        let seconds = unix_seconds.clamp(FIRST_SECOND, LAST_SECOND);
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let since_march_0000 = days + 719_468;
        let era = since_march_0000.div_euclid(146_097);
        let day_of_era = since_march_0000.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year: year as u32,
            month: month as u32,
            day: day as u32,
            second_of_day: seconds.rem_euclid(SECONDS_PER_DAY) as u32,
            weekday: WEEKDAYS[days.rem_euclid(7) as usize],
        }
    }

    fn month_name(&self) -> &'static [u8; 3] {
        MONTHS[self.month as usize - 1]
    }

    /// `2026-11-22`
    fn calendar(&self) -> [u8; 10] {
        let mut text = *b"1970-01-01";
        text[0..4].copy_from_slice(&four_digits(self.year));
        text[5..7].copy_from_slice(&two_digits(self.month));
        text[8..10].copy_from_slice(&two_digits(self.day));
        text
    }

    /// `14:32:23`
    fn clock(&self) -> [u8; 8] {
        let mut text = *b"00:00:00";
        text[0..2].copy_from_slice(&two_digits(self.second_of_day / 3_600));
        text[3..5].copy_from_slice(&two_digits(self.second_of_day / 60 % 60));
        text[6..8].copy_from_slice(&two_digits(self.second_of_day % 60));
        text
    }
}

fn two_digits(number: u32) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

fn four_digits(number: u32) -> [u8; 4] {
    let [a, b] = two_digits(number / 100);
    let [c, d] = two_digits(number);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn header_dates_are_right_over_leap_years_centuries_and_both_ends() {
        // Taken from `date -u -d @N`.
        let table: &[(i64, &str)] = &[
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (68_169_600, "Tue, 29 Feb 1972 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_740_787_199, "Fri, 28 Feb 2025 23:59:59 GMT"),
            (1_740_787_200, "Sat, 01 Mar 2025 00:00:00 GMT"),
            (1_795_357_943, "Sun, 22 Nov 2026 14:32:23 GMT"),
            (2_147_483_647, "Tue, 19 Jan 2038 03:14:07 GMT"),
            (2_147_483_648, "Tue, 19 Jan 2038 03:14:08 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (-2_203_891_200, "Thu, 01 Mar 1900 00:00:00 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (FIRST_SECOND, "Sat, 01 Jan 0000 00:00:00 GMT"),
            (i64::MIN, "Sat, 01 Jan 0000 00:00:00 GMT"),
        ];
        for (seconds, expected) in table {
            assert_eq!(text(&imf_fixdate(*seconds)), *expected, "for {seconds}");
        }
    }

    #[test]
    fn every_day_of_eight_centuries_follows_the_day_before() {
        let is_leap = |year: u32| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        let (mut year, mut month, mut day) = (1600, 1, 1);
        let first = -11_676_096_000_i64;
        for index in 0..292_194_i64 {
            let civil = Civil::from_unix(first + index * SECONDS_PER_DAY);
            assert_eq!((civil.year, civil.month, civil.day), (year, month, day));
            let length = match month {
                2 => 28 + u32::from(is_leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (2400, 1, 1));
    }

    #[test]
    fn log_times_are_local_and_have_their_offset() {
        let table: &[(i32, &str, &str, &str)] = &[
            (
                0,
                "[22/Nov/2026:14:32:23 +0000]",
                "[2026-11-22 14:32:23 +0000]",
                "2026-11-22T14:32:23.000042+00:00",
            ),
            (
                -25_200,
                "[22/Nov/2026:07:32:23 -0700]",
                "[2026-11-22 07:32:23 -0700]",
                "2026-11-22T07:32:23.000042-07:00",
            ),
            (
                20_700,
                "[22/Nov/2026:20:17:23 +0545]",
                "[2026-11-22 20:17:23 +0545]",
                "2026-11-22T20:17:23.000042+05:45",
            ),
            (
                46_800,
                "[23/Nov/2026:03:32:23 +1300]",
                "[2026-11-23 03:32:23 +1300]",
                "2026-11-23T03:32:23.000042+13:00",
            ),
        ];
        for (utc_offset_seconds, common, event, rfc3339) in table {
            let at = WallTime {
                unix_seconds: 1_795_357_943,
                microseconds: 42,
                utc_offset_seconds: *utc_offset_seconds,
            };
            assert_eq!(text(&at.common_log()), *common);
            assert_eq!(text(&at.event_log()), *event);
            assert_eq!(text(&at.rfc3339()), *rfc3339);
        }
    }

    #[test]
    fn a_later_time_carries_its_microseconds() {
        let at = WallTime {
            unix_seconds: 10,
            microseconds: 900_000,
            utc_offset_seconds: 60,
        };
        let later = at.after(Duration::from_micros(2_200_001));
        let expected = WallTime {
            unix_seconds: 13,
            microseconds: 100_001,
            utc_offset_seconds: 60,
        };
        assert_eq!(later, expected);
        assert_eq!(at.after(Duration::MAX).unix_seconds, i64::MAX);
    }
}
