//! `Retry-After` (RFC 9110 §10.2.3): seconds, or a date.

/// Seconds from `now` (unix seconds); `None` when the value is neither.
pub(crate) fn seconds(value: &str, now: u64) -> Option<u64> {
    let value = value.trim();
    match value.bytes().all(|byte| byte.is_ascii_digit()) {
        true => value.parse().ok(),
        false => Some(imf_fixdate(value)?.saturating_sub(now)),
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &str) -> Option<u64> {
    let (_weekday, date) = text.split_once(", ")?;
    let mut words = date.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let is_utc = words.next() == Some("GMT") && words.next().is_none();
    let is_in_range = (1970..10_000).contains(&year)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_utc || !is_in_range {
        return None;
    }
    // Days since 1970-01-01 of the proleptic Gregorian calendar, with years that begin in March.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let era_day = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = era_day.checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_seconds_or_a_date() {
        let now = 784_111_000;
        for (value, expected) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(777)),
            ("Sun, 06 Nov 1994 08:30:00 GMT", Some(0)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800 - now)),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 06 Nov 99999999999 08:49:37 GMT", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
            ("soon", None),
            ("-1", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(seconds(value, now), expected, "{value}");
        }
    }
}
