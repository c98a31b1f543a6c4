//! `X-Request-Start` and `X-Queue-Start`: when a proxy in front has received a request.
//!
//! They have no specification. The forms are those that New Relic's agents read: `t=` may stand before a number of
//! seconds (`$msec` of nginx has three decimals), milliseconds (Heroku), microseconds (Apache's `%t`) or nanoseconds
//! since 1970. The unit follows from the size: each range begins in 1973 and ends in 5138.

use std::time::Duration;

/// A request that has been with the proxy for longer is taken for a mistake.
const LONGEST: Duration = Duration::from_secs(3600);

/// Smallest numbers of seconds, milliseconds, microseconds and nanoseconds, with the nanoseconds in a unit.
const UNITS: [(u128, u128); 4] = [
    (100_000_000, 1_000_000_000),
    (100_000_000_000, 1_000_000),
    (100_000_000_000_000, 1_000),
    (100_000_000_000_000_000, 1),
];

/// How long before `now`, the time since 1970, the proxy has received the request. `None`: the value is no time, is in
/// the future, or is more than an hour ago.
pub fn elapsed(value: &[u8], now: Duration) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    let number = text.strip_prefix("t=").unwrap_or(text);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| {
        (1..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole) || !is_number(decimals) {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let (_, unit) = UNITS.into_iter().rfind(|(from, _)| whole >= *from)?;
    let scale = 10_u128.pow(decimals.len() as u32);
    let decimals: u128 = decimals.parse().ok()?;
    let received = whole * unit + decimals * unit / scale;
    let elapsed = now.as_nanos().checked_sub(received)?;
    let elapsed = Duration::from_nanos(u64::try_from(elapsed).ok()?);
    (elapsed <= LONGEST).then_some(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_before_arrival_is_read_in_every_unit() {
        let now = Duration::new(1_700_000_000, 250_000_000);
        let millis = |count| Some(Duration::from_millis(count));
        for (value, expected) in [
            ("t=1700000000.000", millis(250)),
            ("1700000000.000", millis(250)),
            ("t=1700000000", millis(250)),
            ("t=1700000000.25", millis(0)),
            ("1700000000249", millis(1)),
            ("t=1700000000249", millis(1)),
            ("t=1700000000249.5", Some(Duration::from_micros(500))),
            ("t=1700000000249999", Some(Duration::from_micros(1))),
            ("t=1700000000249999000", Some(Duration::from_micros(1))),
            ("t=1699996400.25", millis(3_600_000)),
            // More than an hour ago, in the future, before 1973.
            ("t=1699996400.249", None),
            ("t=1700000000.251", None),
            ("t=17000000000", None),
            ("t=99999999", None),
            ("0", None),
            ("t=99999999999999999999", None),
            ("t=100000000000000000000", None),
            // No numbers.
            ("", None),
            ("t=", None),
            ("t=-1700000000", None),
            ("t=+1700000000", None),
            ("t=1700000000.", None),
            ("t=.5", None),
            ("t=1700000000.000.0", None),
            ("t=1,700,000,000", None),
            ("t=1e9", None),
            ("T=1700000000", None),
            ("t=1700000000 ", None),
            ("t=0x6553f100", None),
            ("Tue, 14 Nov 2023 22:13:20 GMT", None),
            ("\u{661}700000000", None),
        ] {
            assert_eq!(elapsed(value.as_bytes(), now), expected, "{value}");
        }
        assert_eq!(elapsed(b"t=1700000000\xff", now), None);
    }
}
