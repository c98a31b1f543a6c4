//! The schedule: when a certificate is renewed, when an attempt is repeated, and which CA is asked. Pure decisions; times
//! are seconds since 1970.

use crate::certificate::Validity;
use crate::protocol::failure::Failure;
use crate::storage::state::State;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The fallback CA is asked, too, after this number of failures.
const FAILURES_BEFORE_FALLBACK: u32 = 2;
/// Clocks of hosts that share `acme_dir` may differ by this.
const CLOCK_DIFFERENCE: u64 = HOUR;
/// The longest time that a CA may ask for before it is asked again.
const LONGEST_RETRY_AFTER: u64 = 7 * DAY;

/// CAs with a directory for tests, which has generous rate limits and whose certificates browsers do not trust.
const STAGING: &[(&str, &str)] = &[(
    "https://acme-v02.api.letsencrypt.org/directory",
    "https://acme-staging-v02.api.letsencrypt.org/directory",
)];

/// One CA to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step<'d> {
    pub(crate) directory: &'d str,
    /// The certificate is discarded: the answer shows whether the CA after it can be asked.
    pub(crate) is_rehearsal: bool,
}

/// The CAs of an attempt, in order. The attempt is over when one has issued a certificate, or when a rehearsal fails and
/// no step is left after that CA.
pub(crate) fn steps<'d>(
    failures: u32,
    directory: &'d str,
    fallback: Option<&'d str>,
) -> Vec<Step<'d>> {
    let mut steps = Vec::new();
    let is_asked = |_: &&str| failures >= FAILURES_BEFORE_FALLBACK;
    for directory in [Some(directory), fallback.filter(is_asked)]
        .into_iter()
        .flatten()
    {
        let staging = STAGING
            .iter()
            .find(|(production, _)| *production == directory);
        if let Some((_, staging)) = staging.filter(|_| failures > 0) {
            steps.push(Step {
                directory: staging,
                is_rehearsal: true,
            });
        }
        steps.push(Step {
            directory,
            is_rehearsal: false,
        });
    }
    steps
}

/// When the certificate is to be renewed: when a third of its lifetime is left, and earlier by up to a thirtieth of the
/// lifetime. That part follows from the name, so that many certificates of one day are not renewed at once.
pub(crate) fn renewal_time(name: &str, validity: Validity) -> u64 {
    let lifetime = validity.not_after.saturating_sub(validity.not_before);
    let spread = (lifetime / 30).max(1);
    // FNV-1a.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    validity
        .not_after
        .saturating_sub(lifetime / 3)
        .saturating_sub(hash % spread)
}

/// When the next attempt is due. `started` is when this process started, after which an operator's correction is tried
/// soon, but not more often than once a minute.
pub(crate) fn due_at(
    name: &str,
    validity: Option<Validity>,
    state: &State,
    started: u64,
    now: u64,
) -> u64 {
    let renewal = validity.map_or(0, |validity| renewal_time(name, validity));
    // The delay of an attempt in the future, when a clock was wrong, could last for years.
    let is_from_the_future = state.last_attempt.saturating_sub(now) > CLOCK_DIFFERENCE;
    if state.failures == 0 || is_from_the_future {
        return renewal;
    }
    let retry = match state.last_attempt < started && !state.must_wait {
        true => state.next_attempt.min(state.last_attempt + MINUTE),
        false => state.next_attempt,
    };
    renewal.max(retry)
}

/// The seconds between a failure and the next attempt: a minute, doubled up to a day, by up to a fifth more. While the
/// certificate is valid, the time that is left has place for at least four attempts. `failures` counts this one; `random`
/// is any number.
pub(crate) fn retry_delay(
    failures: u32,
    failure: &Failure,
    validity: Option<Validity>,
    now: u64,
    random: u64,
) -> u64 {
    let doubled = MINUTE << failures.saturating_sub(1).min(12);
    let left = validity.map_or(0, |validity| validity.not_after.saturating_sub(now));
    let longest = match left {
        0 => DAY,
        left => (left / 4).clamp(MINUTE, DAY),
    };
    let delay = doubled.min(longest);
    let delay = (delay + random % (delay / 5).max(1)).min(DAY);
    let asked = failure.retry_after().unwrap_or(0);
    delay.max(asked.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::failure::Problem;

    const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
    const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
    const OTHER: &str = "https://ca.example/directory";
    const NOW: u64 = 1_800_000_000;

    fn validity(lifetime: u64, age: u64) -> Validity {
        Validity {
            not_before: NOW - age,
            not_after: NOW - age + lifetime,
        }
    }

    fn failure(retry_after: Option<u64>) -> Failure {
        Failure::Refused {
            url: String::new(),
            problem: Problem {
                retry_after,
                ..Problem::default()
            },
        }
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_is_left() {
        for lifetime in [1, 60, 3600, 6 * DAY, 47 * DAY, 90 * DAY, 365 * DAY] {
            for name in ["a.example", "b.example", "shop.example"] {
                let certificate = validity(lifetime, 0);
                let third = certificate.not_after - lifetime / 3;
                let renewal = renewal_time(name, certificate);
                assert!(renewal <= third, "{name}, {lifetime}");
                assert!(renewal + lifetime / 30 >= third, "{name}, {lifetime}");
            }
        }
        let certificate = validity(90 * DAY, 0);
        let times = ["a.example", "b.example"].map(|name| renewal_time(name, certificate));
        assert_ne!(times[0], times[1]);
        // A certificate that is reversed or extreme is renewed at once and overflows nothing.
        let odd = Validity {
            not_before: u64::MAX,
            not_after: 0,
        };
        assert_eq!(renewal_time("a", odd), 0);
    }

    #[test]
    fn the_delay_doubles_from_a_minute_to_a_day() {
        let delays: Vec<u64> = (1..14)
            .map(|failures| retry_delay(failures, &failure(None), None, NOW, 0) / MINUTE)
            .collect();
        assert_eq!(
            delays,
            [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440, 1440]
        );
        for random in [0, 1, 7, 11, u64::MAX] {
            let delay = retry_delay(1, &failure(None), None, NOW, random);
            assert!((60..72).contains(&delay), "{delay}");
            let delay = retry_delay(u32::MAX, &failure(None), None, NOW, random);
            assert_eq!(delay, DAY);
        }
    }

    #[test]
    fn a_certificate_that_expires_soon_is_tried_more_often() {
        for (left, expected) in [
            (8 * DAY, DAY),
            (2 * DAY, DAY / 2),
            (4 * HOUR, HOUR),
            (60, MINUTE),
        ] {
            let certificate = validity(10 * DAY, 10 * DAY - left);
            let delay = retry_delay(20, &failure(None), Some(certificate), NOW, 0);
            assert_eq!(delay, expected, "{left}");
        }
        let expired = validity(DAY, 2 * DAY);
        assert_eq!(retry_delay(20, &failure(None), Some(expired), NOW, 0), DAY);
    }

    #[test]
    fn the_time_that_a_ca_asks_for_is_waited_for() {
        for (asked, expected) in [
            (10, MINUTE),
            (HOUR, HOUR),
            (3 * DAY, 3 * DAY),
            (u64::MAX, 7 * DAY),
        ] {
            let delay = retry_delay(1, &failure(Some(asked)), None, NOW, 0);
            assert_eq!(delay, expected, "{asked}");
        }
    }

    #[test]
    fn an_attempt_is_due_at_the_renewal_or_after_the_delay() {
        let state = |failures, last_attempt, next_attempt, must_wait| State {
            failures,
            last_attempt,
            next_attempt,
            must_wait,
            ..State::default()
        };
        let fresh = Some(validity(90 * DAY, 0));
        let renewal = renewal_time("a", validity(90 * DAY, 0));
        let old = Some(validity(90 * DAY, 80 * DAY));
        for (certificate, state, started, expected) in [
            (None, State::default(), NOW, 0),
            (fresh, State::default(), NOW, renewal),
            // Another host has renewed after this one had failed.
            (
                fresh,
                state(3, NOW - 60, NOW + 60, false),
                NOW - DAY,
                renewal,
            ),
            (
                None,
                state(3, NOW - 60, NOW + 600, false),
                NOW - DAY,
                NOW + 600,
            ),
            (
                old,
                state(3, NOW - 60, NOW + 600, false),
                NOW - DAY,
                NOW + 600,
            ),
            // After a restart: a minute after the last attempt, unless the CA has asked for more.
            (None, state(9, NOW - 10, NOW + DAY, false), NOW, NOW + 50),
            (None, state(9, NOW - 999, NOW + DAY, false), NOW, NOW - 939),
            (None, state(9, NOW - 10, NOW + DAY, true), NOW, NOW + DAY),
            // The clock of another host is ahead, or this one was wrong by years.
            (None, state(9, NOW + HOUR, NOW + DAY, false), NOW, NOW + DAY),
            (
                None,
                state(1, NOW + 999 * DAY, NOW + 1000 * DAY, true),
                NOW,
                0,
            ),
            (
                fresh,
                state(1, NOW + 999 * DAY, NOW + 1000 * DAY, false),
                NOW,
                renewal,
            ),
        ] {
            let due = due_at("a", certificate, &state, started, NOW);
            assert_eq!(due, expected);
        }
    }

    #[test]
    fn a_failing_ca_is_rehearsed_and_a_second_one_is_asked_later() {
        let rehearsal = |directory| Step {
            directory,
            is_rehearsal: true,
        };
        let real = |directory| Step {
            directory,
            is_rehearsal: false,
        };
        for (failures, directory, fallback, expected) in [
            (0, LETS_ENCRYPT, Some(OTHER), vec![real(LETS_ENCRYPT)]),
            (
                1,
                LETS_ENCRYPT,
                Some(OTHER),
                vec![rehearsal(LETS_ENCRYPT_STAGING), real(LETS_ENCRYPT)],
            ),
            (
                2,
                LETS_ENCRYPT,
                Some(OTHER),
                vec![
                    rehearsal(LETS_ENCRYPT_STAGING),
                    real(LETS_ENCRYPT),
                    real(OTHER),
                ],
            ),
            (9, OTHER, None, vec![real(OTHER)]),
            (
                9,
                OTHER,
                Some(LETS_ENCRYPT),
                vec![
                    real(OTHER),
                    rehearsal(LETS_ENCRYPT_STAGING),
                    real(LETS_ENCRYPT),
                ],
            ),
        ] {
            assert_eq!(steps(failures, directory, fallback), expected, "{failures}");
        }
    }
}
