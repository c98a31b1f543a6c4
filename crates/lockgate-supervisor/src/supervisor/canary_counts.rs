//! The canary period as data: response counts of old and new workers, and their comparison.

use std::fmt;
use std::time::Instant;

use super::event::{Responses, Rules};

/// With fewer responses than this from the new workers there is no verdict.
const ENOUGH: u64 = 20;
/// For log messages about a rollback.
pub(super) const DURING_CANARY: &str = "during the canary period (setting: canary_period)";
/// Hundredths of a percent in a whole.
const WHOLE: u128 = 10_000;

/// A canary period in progress.
#[derive(Debug)]
pub(super) struct Canary {
    /// The rules of the new generation.
    pub(super) rules: Rules,
    pub(super) since: Instant,
    pub(super) until: Instant,
    /// New connections go to the new workers first.
    pub(super) has_moved: bool,
    pub(super) count_at: Instant,
    tallies: Vec<Tally>,
}

/// The responses of one worker since the start of the canary period. Kept after the worker has died.
#[derive(Debug)]
struct Tally {
    pid: u32,
    is_new: bool,
    before: (u64, u64),
    sum: Sum,
}

/// Responses, and how many of them failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    all: u64,
    failed: u64,
}

impl Canary {
    pub(super) fn new(rules: Rules, since: Instant, until: Instant, count_at: Instant) -> Self {
        Self {
            rules,
            since,
            until,
            has_moved: false,
            count_at,
            tallies: Vec::new(),
        }
    }

    /// Updates the counts; workers seen for the first time start from zero.
    pub(super) fn update(&mut self, counts: &[Responses], is_new: impl Fn(u32) -> Option<bool>) {
        for count in counts {
            match self.tallies.iter_mut().find(|tally| tally.pid == count.pid) {
                Some(tally) => {
                    let (all, failed) = tally.before;
                    tally.sum.all = count.all.saturating_sub(all);
                    tally.sum.failed = count.failed.saturating_sub(failed);
                }
                None => self.tallies.extend(is_new(count.pid).map(|is_new| Tally {
                    pid: count.pid,
                    is_new,
                    before: (count.all, count.failed),
                    sum: Sum::default(),
                })),
            }
        }
    }

    pub(super) fn sum(&self, is_new: bool) -> Sum {
        let tallies = self.tallies.iter().filter(|tally| tally.is_new == is_new);
        tallies.fold(Sum::default(), |sum, tally| Sum {
            all: sum.all + tally.sum.all,
            failed: sum.failed + tally.sum.failed,
        })
    }

    /// Whether the new workers' error rate is too high.
    pub(super) fn is_worse(&self) -> bool {
        let (new, old) = (self.sum(true), self.sum(false));
        new.all >= ENOUGH
            && new.exceeds(
                old.or_no_failure(),
                u128::from(self.rules.canary_max_error_increase),
            )
    }
}

impl Sum {
    /// Workers without requests have no failures.
    fn or_no_failure(self) -> Self {
        Self {
            all: self.all.max(1),
            ..self
        }
    }

    /// Whether its error rate is more than `most` hundredths of a percent above the other's.
    fn exceeds(self, other: Self, most: u128) -> bool {
        // Both sides are multiplied by both response counts, so that nothing is rounded.
        let [all, failed, others, others_failed] =
            [self.all, self.failed, other.all, other.failed].map(u128::from);
        failed * WHOLE * others > (others_failed * WHOLE + most * others) * all
    }
}

/// `31.2 % of 48 responses`.
impl fmt::Display for Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.failed as f64 / self.all.max(1) as f64;
        write!(out, "{share:.1} % of {} responses", self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_rate_may_exceed_the_other_by_the_limit_and_no_more() {
        let sum = |failed, all| Sum { all, failed };
        let cases = [
            (sum(5, 100), sum(0, 100), 500, false),
            (sum(6, 100), sum(0, 100), 500, true),
            (sum(1, 20), sum(0, 0), 500, false),
            (sum(2, 20), sum(0, 0), 500, true),
            (sum(8, 100), sum(3, 100), 500, false),
            (sum(9, 100), sum(3, 100), 500, true),
            (sum(1, 1000), sum(0, 5), 0, true),
            (sum(0, 1000), sum(0, 5), 0, false),
            (sum(1000, 1000), sum(0, 5), 10_000, false),
            (sum(30, 100), sum(50, 100), 0, false),
        ];
        for (new, old, most, expected) in cases {
            assert_eq!(
                new.exceeds(old.or_no_failure(), most),
                expected,
                "{new} {old} {most}"
            );
        }
    }
}
