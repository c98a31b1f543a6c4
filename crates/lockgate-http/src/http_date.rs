//! HTTP dates (RFC 9110 §5.6.7): the preferred format, and the two obsolete ones that recipients still accept.
//!
//! Dates are seconds since 1970, so an earlier date is not valid here. Names are compared without case, as caches and
//! browsers do; everything else is exact.

const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const FULL_WEEKDAYS: [&[u8]; 7] = [
    b"Thursday",
    b"Friday",
    b"Saturday",
    b"Sunday",
    b"Monday",
    b"Tuesday",
    b"Wednesday",
];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const SECONDS_PER_DAY: u64 = 86_400;
/// 9999-12-31 23:59:59, the last second that has four digits of a year.
const LAST_SECOND: u64 = 253_402_300_799;
/// From 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_1970: u64 = 719_468;

/// Seconds since 1970 of a date in one of the three formats; `None` if it is not valid.
///
/// ```
/// use lockgate_http::http_date;
///
/// for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
///     assert_eq!(http_date::parse(text.as_bytes()), Some(784_111_777));
/// }
/// assert_eq!(&http_date::format(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
/// ```
pub fn parse(text: &[u8]) -> Option<u64> {
    let fixed = match text.len() {
        29 => imf_fixdate(text),
        24 => asctime(text),
        _ => rfc850(text),
    };
    fixed?.seconds()
}

/// The preferred format, IMF-fixdate. Years end at 9999.
pub fn format(seconds: u64) -> [u8; 29] {
    let seconds = seconds.min(LAST_SECOND);
    let days = seconds / SECONDS_PER_DAY;
    let (year, month, day) = civil_from_days(days);
    let second = seconds % SECONDS_PER_DAY;
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[0..3].copy_from_slice(WEEKDAYS[(days % 7) as usize]);
    text[5..7].copy_from_slice(&two_digits(day));
    text[8..11].copy_from_slice(MONTHS[month as usize - 1]);
    text[12..14].copy_from_slice(&two_digits(year / 100));
    text[14..16].copy_from_slice(&two_digits(year % 100));
    text[17..19].copy_from_slice(&two_digits(second / 3_600));
    text[20..22].copy_from_slice(&two_digits(second / 60 % 60));
    text[23..25].copy_from_slice(&two_digits(second % 60));
    text
}

/// A date and time of day as written.
struct Written {
    year: u64,
    month: u64,
    day: u64,
    time: u64,
}

impl Written {
    fn seconds(self) -> Option<u64> {
        let is_valid = (1970..=9999).contains(&self.year)
            && (1..=days_in_month(self.year, self.month)).contains(&self.day);
        let days =
            days_from_civil(self.year, self.month, self.day).checked_sub(DAYS_BEFORE_1970)?;
        is_valid.then_some(days * SECONDS_PER_DAY + self.time)
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &[u8]) -> Option<Written> {
    let text: &[u8; 29] = text.try_into().ok()?;
    let has_shape = text[3..5] == *b", "
        && text[7] == b' '
        && text[11] == b' '
        && text[16] == b' '
        && text[25..].eq_ignore_ascii_case(b" GMT");
    position(&WEEKDAYS, &text[0..3]).filter(|_| has_shape)?;
    Some(Written {
        year: number(&text[12..16])?,
        month: month(&text[8..11])?,
        day: number(&text[5..7])?,
        time: time_of_day(&text[17..25])?,
    })
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
///
/// A year of two digits is between 1970 and 2069. RFC 9110 asks for the 50 years after now, which differs only for
/// dates that no valid sender writes in this format.
fn rfc850(text: &[u8]) -> Option<Written> {
    let comma = text.iter().position(|&byte| byte == b',')?;
    let (weekday, rest) = text.split_at(comma);
    let rest: &[u8; 24] = rest.try_into().ok()?;
    let has_shape = rest[0..2] == *b", "
        && rest[4] == b'-'
        && rest[8] == b'-'
        && rest[11] == b' '
        && rest[20..].eq_ignore_ascii_case(b" GMT");
    let is_weekday = |name: &&[u8]| name.eq_ignore_ascii_case(weekday);
    FULL_WEEKDAYS
        .iter()
        .find(|name| is_weekday(name) && has_shape)?;
    let year = number(&rest[9..11])?;
    Some(Written {
        year: if year < 70 { 2000 + year } else { 1900 + year },
        month: month(&rest[5..8])?,
        day: number(&rest[2..4])?,
        time: time_of_day(&rest[12..20])?,
    })
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<Written> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let has_shape = text[3] == b' ' && text[7] == b' ' && text[10] == b' ' && text[19] == b' ';
    position(&WEEKDAYS, &text[0..3]).filter(|_| has_shape)?;
    let day = if text[8] == b' ' {
        &text[9..10]
    } else {
        &text[8..10]
    };
    Some(Written {
        year: number(&text[20..24])?,
        month: month(&text[4..7])?,
        day: number(day)?,
        time: time_of_day(&text[11..19])?,
    })
}

/// `08:49:37`. A leap second is 60 (RFC 9110 §5.6.7).
fn time_of_day(text: &[u8]) -> Option<u64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *text else {
        return None;
    };
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3_600 + minute * 60 + second)
}

fn month(name: &[u8]) -> Option<u64> {
    Some(position(&MONTHS, name)? as u64 + 1)
}

fn position(names: &[&[u8; 3]], name: &[u8]) -> Option<usize> {
    names
        .iter()
        .position(|known| known.eq_ignore_ascii_case(name))
}

/// Digits only; at most four.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

fn two_digits(number: u64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

fn days_in_month(year: u64, month: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 0000-03-01. Howard Hinnant's `days_from_civil`: years begin in March, so that the leap day is the last.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month <= 2 {
        (year.saturating_sub(1), month + 9)
    } else {
        (year, month - 3)
    };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day.saturating_sub(1)
}

/// Year, month and day of a day since 1970. Howard Hinnant's `civil_from_days`.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_formats_are_read() {
        // The seconds are those of `date -u -d TEXT +%s`.
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800)),
            ("Sun, 28 Feb 2100 23:59:59 GMT", Some(4_107_542_399)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(LAST_SECOND)),
            ("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Thursday, 18-Aug-50 02:01:18 GMT", Some(2_544_400_878)),
            ("Thursday, 01-Jan-70 00:00:00 GMT", Some(0)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Wed Nov 16 08:49:37 1994", Some(784_975_777)),
            // The day of the week is not compared with the date, as in other servers.
            ("Mon, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("SUN, 06 NOV 1994 08:49:37 gmt", Some(784_111_777)),
            ("", None),
            ("0", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 08:49:37 AEST", None),
            ("Sun, 06 Nov 94 08:49:37 GMT", None),
            ("Sun 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06  Nov  1994 08:49:37 GMT", None),
            ("Sun, 06-Nov-1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08.49.37 GMT", None),
            ("Sun, 06 Nov 1994 8:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT ", None),
            ("Xxx, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Xxx 1994 08:49:37 GMT", None),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("Sun, 31 Nov 1994 08:49:37 GMT", None),
            ("Sun, 29 Feb 2100 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Sun, 06 Nov 1994 23:60:00 GMT", None),
            ("Sun, 06 Nov 1994 23:00:61 GMT", None),
            ("Sun, +6 Nov 1994 08:49:37 GMT", None),
            ("Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("Sat, 01 Jan 0000 00:00:00 GMT", None),
            ("Sun, 06-Nov-94 08:49:37 GMT", None),
            ("Sunday, 06-Nov-1994 08:49:37 GMT", None),
            ("Sun Nov 6 08:49:37 1994 ", None),
        ] {
            assert_eq!(parse(text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn every_day_is_written_and_read_again() {
        for day in 0..=LAST_SECOND / SECONDS_PER_DAY {
            let seconds = day * SECONDS_PER_DAY + day % SECONDS_PER_DAY;
            assert_eq!(parse(&format(seconds)), Some(seconds), "{seconds}");
        }
        assert_eq!(format(u64::MAX), *b"Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
