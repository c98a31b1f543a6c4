//! Warnings before a certificate expires, and after: once a day for each.

use std::collections::HashMap;

const DAY: i64 = 86_400;
/// How often to look for certificates that expire.
const INTERVAL: i64 = 600;
/// A warning comes when a third of the lifetime is left, but not earlier than this before the expiry: programs renew
/// certificates of 90 days 30 days ahead.
const LONGEST_WARNING: i64 = 7 * DAY;

/// The validity of a certificate, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

/// What an operator should know about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// It becomes valid later: a clock is wrong.
    NotYetValid,
    /// It expires in this number of whole hours.
    Expires {
        hours: i64,
    },
    Expired,
}

impl Validity {
    fn problem(self, now: i64) -> Option<Problem> {
        let left = self.not_after.saturating_sub(now);
        let lifetime = self.not_after.saturating_sub(self.not_before);
        if left < 0 {
            Some(Problem::Expired)
        } else if now < self.not_before {
            Some(Problem::NotYetValid)
        } else if left <= (lifetime / 3).min(LONGEST_WARNING) {
            Some(Problem::Expires { hours: left / 3600 })
        } else {
            None
        }
    }
}

/// When a warning about which certificate was last written.
#[derive(Debug, Default)]
pub(super) struct ExpiryWarnings {
    checked_at: Option<i64>,
    warned_at: HashMap<String, (Validity, i64)>,
}

impl ExpiryWarnings {
    /// Whether certificates that have not changed are to be checked again.
    pub(super) fn is_time(&self, now: i64) -> bool {
        // A clock that was set back counts from then on.
        let is_recent = |at: i64| (0..INTERVAL).contains(&now.saturating_sub(at));
        !self.checked_at.is_some_and(is_recent)
    }

    /// The problems to warn of now, each with the title of its certificate.
    pub(super) fn due(
        &mut self,
        certificates: &[(String, Validity)],
        now: i64,
    ) -> Vec<(String, Validity, Problem)> {
        self.checked_at = Some(now);
        self.warned_at
            .retain(|name, _| certificates.iter().any(|(kept, _)| kept == name));
        let mut due = Vec::new();
        for (name, validity) in certificates {
            let Some(problem) = validity.problem(now) else {
                continue;
            };
            let is_repeated = self.warned_at.get(name).is_some_and(|(warned, at)| {
                warned == validity && (0..DAY).contains(&now.saturating_sub(*at))
            });
            if !is_repeated {
                self.warned_at.insert(name.clone(), (*validity, now));
                due.push((name.clone(), *validity, problem));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUED: i64 = 1_700_000_000;

    fn validity(days: i64) -> Validity {
        Validity {
            not_before: ISSUED,
            not_after: ISSUED + days * DAY,
        }
    }

    #[test]
    fn a_warning_comes_in_the_last_third_or_in_the_last_week() {
        for (lifetime, age, expected) in [
            (90, -1, Some(Problem::NotYetValid)),
            (90, 0, None),
            (90, 82, None),
            (90, 83, Some(Problem::Expires { hours: 168 })),
            (90, 90, Some(Problem::Expires { hours: 0 })),
            (90, 91, Some(Problem::Expired)),
            (6, 3, None),
            (6, 4, Some(Problem::Expires { hours: 48 })),
            (3650, 3642, None),
            (-1, 0, Some(Problem::Expired)),
        ] {
            let found = validity(lifetime).problem(ISSUED + age * DAY);
            assert_eq!(found, expected, "{age} of {lifetime} days");
        }
        let extreme = Validity {
            not_before: i64::MIN,
            not_after: i64::MAX,
        };
        assert_eq!(extreme.problem(0), None);
    }

    #[test]
    fn a_warning_is_repeated_after_a_day_and_a_renewed_certificate_has_its_own() {
        let mut warnings = ExpiryWarnings::default();
        let mut count = |validity, hours: i64| {
            let certificates = [
                ("a".to_owned(), validity),
                ("b".to_owned(), self::validity(365)),
            ];
            warnings.due(&certificates, ISSUED + hours * 3600).len()
        };
        let (old, new) = (validity(6), validity(7));
        for (validity, hours, expected) in [
            (old, 95, 0),
            (old, 96, 1),
            (old, 97, 0),
            (old, 119, 0),
            (old, 120, 1),
            (new, 121, 1),
            // The clock was set back.
            (new, 120, 1),
            (old, 200, 1),
        ] {
            assert_eq!(count(validity, hours), expected, "{hours}");
        }
        let checked_at = ISSUED + 200 * 3600;
        for (age, is_time) in [(0, false), (599, false), (600, true), (-1, true)] {
            assert_eq!(warnings.is_time(checked_at + age), is_time, "{age}");
        }
        assert!(ExpiryWarnings::default().is_time(0));
    }
}
