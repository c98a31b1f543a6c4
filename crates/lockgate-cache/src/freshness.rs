//! Freshness and age (RFC 9111 §4.2) of a stored response.

use lockgate_http::cache_control::{MOST_SECONDS, Scope};

use crate::fields::Response;

/// A tenth of the time since the last modification (RFC 9111 §4.2.2).
const HEURISTIC_PART: u64 = 10;
/// The longest lifetime that is a guess: a day.
const LONGEST_GUESS: u64 = 86_400;
/// How long a stale response is kept that can be validated: a day.
const VALIDATION_PERIOD: u64 = 86_400;

/// How long a stored response may be used. Times are seconds since 1970, durations are in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The freshness lifetime: how old the response may become and still be fresh.
    pub ttl: u64,
    /// How long after that it may be used while it is validated (RFC 5861 §3).
    pub stale_while_revalidate: u64,
    /// How long after that it may be used instead of an error (RFC 5861 §4).
    pub stale_if_error: u64,
    /// No client may accept it when it is stale: `must-revalidate`, `proxy-revalidate` or `s-maxage`.
    pub must_revalidate: bool,
    /// It has to be validated at every use: `no-cache`.
    pub no_cache: bool,
    /// It has an ETag or a Last-Modified, so that it can be validated.
    pub has_validator: bool,
    /// Its Date; when it was received if it has none.
    pub date: u64,
    /// Its age when it was received (RFC 9111 §4.2.3: `corrected_initial_age`).
    pub initial_age: u64,
    /// When it was received.
    pub stored: u64,
}

impl Freshness {
    /// `guesses` says whether a lifetime may be guessed. `None`: the response has no lifetime.
    pub(crate) fn of(response: &Response<'_>, guesses: bool, now: u64) -> Option<Self> {
        let directives = &response.directives;
        let date = response.date.unwrap_or(now);
        let no_cache = directives.no_cache == Some(Scope::Response) || response.has_pragma;
        let guess = || match response.last_modified {
            Some(modified) if guesses && !response.has_pragma => {
                Some((date.saturating_sub(modified) / HEURISTIC_PART).min(LONGEST_GUESS))
            }
            _ => None,
        };
        let lifetime = response.explicit_lifetime(date).or_else(guess);
        let ttl = match lifetime {
            None if !no_cache => return None,
            None => 0,
            Some(lifetime) => lifetime.min(MOST_SECONDS),
        };
        // RFC 9111 §4.2.4 lets no directive of the client and no error override these two. `s-maxage` alone does not
        // override the windows that the same response names: the two are meant to be used together.
        let never_stale = directives.must_revalidate || directives.proxy_revalidate || no_cache;
        let window = |seconds: Option<u64>| if never_stale { 0 } else { seconds.unwrap_or(0) };
        Some(Self {
            ttl,
            stale_while_revalidate: window(directives.stale_while_revalidate),
            stale_if_error: window(directives.stale_if_error),
            must_revalidate: never_stale || directives.s_maxage.is_some(),
            no_cache,
            has_validator: response.has_validator,
            date,
            initial_age: now.saturating_sub(date).max(response.age).min(MOST_SECONDS),
            stored: now,
        })
    }

    /// How old the response is (RFC 9111 §4.2.3: `current_age`): the value of Age.
    pub fn age(&self, now: u64) -> u64 {
        self.initial_age
            .saturating_add(now.saturating_sub(self.stored))
            .min(MOST_SECONDS)
    }

    /// How long it stays fresh; negative: for how long it has been stale. This is `ttl` of Cache-Status.
    pub fn remaining(&self, now: u64) -> i64 {
        let [ttl, age] = [self.ttl.min(MOST_SECONDS), self.age(now)];
        // Both are at most 2^31.
        ttl as i64 - age as i64
    }

    /// Whether it may be used without validation.
    pub fn is_fresh(&self, now: u64) -> bool {
        !self.no_cache && self.remaining(now) > 0
    }

    /// When it stops being of any use: it is stale, and neither its windows nor its validators help. The store may
    /// remove it then.
    pub fn expires(&self) -> u64 {
        let fresh_until = self
            .stored
            .saturating_add(self.ttl)
            .saturating_sub(self.initial_age);
        let validation = if self.has_validator {
            VALIDATION_PERIOD
        } else {
            0
        };
        let windows = self.stale_while_revalidate.max(self.stale_if_error);
        fresh_until.saturating_add(windows.max(validation))
    }

    pub(crate) fn is_within(&self, window: u64, now: u64) -> bool {
        self.remaining(now).saturating_add_unsigned(window) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_http::http_date;

    const NOW: u64 = 1_000_000_000;

    fn freshness(fields: &[(&str, &str)], guesses: bool) -> Option<Freshness> {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        Freshness::of(&Response::of(&fields), guesses, NOW)
    }

    fn date(offset: i64) -> String {
        String::from_utf8(http_date::format(NOW.saturating_add_signed(offset)).to_vec()).unwrap()
    }

    #[test]
    fn the_lifetime_comes_from_the_most_specific_field() {
        let [past, future, present] = [-100, 100, 0].map(date);
        for (fields, ttl) in [
            (&[][..], None),
            (&[("Cache-Control", "max-age=60")][..], Some(60)),
            (
                &[
                    ("Cache-Control", "max-age=60"),
                    ("Cache-Control", "s-maxage=5"),
                ],
                Some(5),
            ),
            (
                &[("Cache-Control", "max-age=60"), ("Expires", &past)],
                Some(60),
            ),
            (
                &[("Cache-Control", "max-age=0"), ("Expires", &future)],
                Some(0),
            ),
            (
                &[("Cache-Control", "max-age=x"), ("Expires", &future)],
                Some(0),
            ),
            (&[("Expires", &future)], Some(100)),
            (&[("Expires", &future), ("Date", &past)], Some(200)),
            (&[("Expires", &past)], Some(0)),
            (&[("Expires", &present), ("Date", &present)], Some(0)),
            (&[("Expires", "0")], Some(0)),
            (&[("Expires", &future), ("Expires", &future)], Some(0)),
            (&[("Expires", &future), ("Date", "foo")], Some(100)),
            (
                &[
                    ("CDN-Cache-Control", "max-age=7"),
                    ("Cache-Control", "s-maxage=60"),
                ],
                Some(7),
            ),
            (
                &[("CDN-Cache-Control", "no-transform"), ("Expires", &future)],
                None,
            ),
            (
                &[
                    ("CDN-Cache-Control", "max-age=\"7\", &"),
                    ("Cache-Control", "max-age=60"),
                ],
                Some(60),
            ),
            (&[("Cache-Control", "no-cache")], Some(0)),
            (
                &[("Cache-Control", "max-age=99999999999")],
                Some(MOST_SECONDS),
            ),
        ] {
            assert_eq!(
                freshness(fields, false).map(|found| found.ttl),
                ttl,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn a_lifetime_is_guessed_only_from_last_modified() {
        let [hour, year, future] = [-3_600, -31_536_000, 100].map(date);
        for (fields, guesses, ttl) in [
            (&[("Last-Modified", hour.as_str())][..], true, Some(360)),
            (&[("Last-Modified", &hour)], false, None),
            (&[("Last-Modified", &year)], true, Some(86_400)),
            (&[("Last-Modified", &future)], true, Some(0)),
            (&[("Last-Modified", "soon")], true, None),
            (
                &[("Last-Modified", &hour), ("Cache-Control", "max-age=1")],
                true,
                Some(1),
            ),
            (
                &[("Last-Modified", &hour), ("Pragma", "no-cache")],
                true,
                Some(0),
            ),
            (&[("ETag", "\"a\"")], true, None),
        ] {
            let found = freshness(fields, guesses).map(|found| found.ttl);
            assert_eq!(found, ttl, "{fields:?}");
        }
    }

    #[test]
    fn the_age_is_the_greatest_of_what_is_known() {
        let [past, future] = [-30, 10].map(date);
        for (fields, initial_age, ttl) in [
            (&[][..], 0, 60),
            (&[("Age", "20")], 20, 60),
            (&[("Date", past.as_str())], 30, 60),
            (&[("Date", past.as_str()), ("Age", "20")], 30, 60),
            (&[("Date", past.as_str()), ("Age", "40")], 40, 60),
            (&[("Date", future.as_str()), ("Age", "15")], 15, 60),
            (&[("Age", "99999999999")], MOST_SECONDS, 60),
            (&[("Age", "abc")], 0, 60),
            (&[("Age", "-7200")], 0, 60),
            (&[("Age", "7200.0")], 0, 60),
            (&[("Age", "0, 7200")], 0, 60),
            (&[("Age", "7200, 0")], 7200, 60),
            (&[("Age", "0"), ("Age", "7200")], 0, 60),
            (&[("Age", "7200;foo=bar")], 0, 60),
        ] {
            let mut all = vec![("Cache-Control", "max-age=60")];
            all.extend_from_slice(fields);
            let found = freshness(&all, false).unwrap();
            assert_eq!(
                (found.initial_age, found.ttl),
                (initial_age, ttl),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn a_response_becomes_stale_and_then_useless() {
        let fields = &[
            (
                "Cache-Control",
                "max-age=60, stale-while-revalidate=10, stale-if-error=20",
            ),
            ("Age", "5"),
        ];
        let found = freshness(fields, false).unwrap();
        for (after, age, remaining, is_fresh) in [
            (0, 5, 55, true),
            (54, 59, 1, true),
            (55, 60, 0, false),
            (75, 80, -20, false),
        ] {
            let now = NOW + after;
            assert_eq!((found.age(now), found.remaining(now)), (age, remaining));
            assert_eq!(found.is_fresh(now), is_fresh, "after {after} seconds");
        }
        assert!(found.is_within(20, NOW + 74) && !found.is_within(20, NOW + 75));
        assert_eq!(found.expires(), NOW + 75);
        // The clock of the server was set back.
        assert_eq!(found.age(NOW - 100), 5);
        let validated = [("Cache-Control", "no-cache"), ("ETag", "\"a\"")];
        assert_eq!(
            freshness(&validated, false).unwrap().expires(),
            NOW + 86_400
        );
    }

    #[test]
    fn what_must_be_validated_has_no_windows() {
        let windows = "stale-while-revalidate=10, stale-if-error=20";
        for (directives, must_revalidate, no_cache, windows_left) in [
            ("max-age=60", false, false, (10, 20)),
            ("s-maxage=60", true, false, (10, 20)),
            ("max-age=60, must-revalidate", true, false, (0, 0)),
            ("max-age=60, proxy-revalidate", true, false, (0, 0)),
            ("max-age=60, no-cache", true, true, (0, 0)),
            ("max-age=60, no-cache=\"a\"", false, false, (10, 20)),
        ] {
            let value = format!("{directives}, {windows}");
            let found = freshness(&[("Cache-Control", &value)], false).unwrap();
            assert_eq!(found.must_revalidate, must_revalidate, "{value}");
            assert_eq!(found.no_cache, no_cache, "{value}");
            let left = (found.stale_while_revalidate, found.stale_if_error);
            assert_eq!(left, windows_left, "{value}");
        }
    }
}
