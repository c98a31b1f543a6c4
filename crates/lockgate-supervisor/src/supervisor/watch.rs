//! The canary period of a reload: new workers answer beside the old ones, and errors roll the reload back.
//!
//! Invariant: during the canary period, old workers that are alive go on as before.

use std::fmt;
use std::time::{Duration, Instant};

use lockgate_config::percent_words;
use lockgate_observe::Level;

use super::reload::Reload;
use super::worker::{Role, Seconds, Slot};
use super::{Action, Order, Responses, Rules, Supervisor};

/// How often responses are counted.
const LOOK: Duration = Duration::from_millis(250);
/// With fewer responses than this from the new workers there is no verdict.
const ENOUGH: u64 = 20;
/// For log messages about a rollback.
pub(super) const WATCHED: &str = "while it was watched (setting: canary_period)";
/// Hundredths of a percent in a whole.
const WHOLE: u128 = 10_000;

/// A canary period in progress.
#[derive(Debug)]
pub(super) struct Watch {
    /// The rules of the new generation.
    pub(super) rules: Rules,
    since: Instant,
    until: Instant,
    /// New connections go to the new workers first.
    has_moved: bool,
    pub(super) look_at: Instant,
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
struct Sum {
    all: u64,
    failed: u64,
}

impl Watch {
    /// Updates the counts; workers seen for the first time start from zero.
    fn note(&mut self, counts: &[Responses], is_new: impl Fn(u32) -> Option<bool>) {
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

    fn sum(&self, is_new: bool) -> Sum {
        let tallies = self.tallies.iter().filter(|tally| tally.is_new == is_new);
        tallies.fold(Sum::default(), |sum, tally| Sum {
            all: sum.all + tally.sum.all,
            failed: sum.failed + tally.sum.failed,
        })
    }

    /// Whether the new workers' error rate is too high.
    fn is_worse(&self) -> bool {
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

impl Supervisor {
    /// All new workers are ready. Returns whether there is a canary period before they take over; if so they begin to
    /// accept.
    pub(super) fn begin_watch(&mut self, rules: Rules, now: Instant) -> bool {
        let Some(watch) = rules.canary_period else {
            return false;
        };
        if self.rules.canary_period.is_none() {
            self.log(
                Level::Warning,
                "reload: not watched, because the workers that serve were started without canary_period",
            );
            return false;
        }
        if !self.does_old_serve() {
            return false;
        }
        if let Some(reload) = &mut self.reload {
            reload.begin_watch(Watch {
                rules,
                since: now,
                until: now + watch,
                has_moved: false,
                look_at: now + LOOK.min(watch),
                tallies: Vec::new(),
            });
        }
        // Before the first of them accepts: earlier counts in its slot belong to another worker.
        self.actions.push(Action::Count);
        self.log(
            Level::Info,
            format!(
                "reload: the new workers answer beside the old ones for {} (setting: canary_period)",
                Seconds(watch)
            ),
        );
        let places: Vec<usize> = self.numbers(Role::Coming).collect();
        for place in places {
            self.open(place, now);
        }
        true
    }

    /// Counts responses when due; ends the canary period when there is no old worker left to roll back to.
    pub(super) fn go_on_watching(&mut self, now: Instant) {
        let does_old_serve = self.does_old_serve();
        let are_new_accepting = (self.slots.iter())
            .filter(|slot| slot.role == Role::Coming)
            .all(|slot| slot.worker().is_some_and(|worker| worker.is_accepting));
        let Some(watch) = self.reload.as_mut().and_then(Reload::watch_mut) else {
            return;
        };
        if !does_old_serve {
            let rules = watch.rules;
            self.log(
                Level::Warning,
                "reload: the old workers are gone, so the watch is over: the new ones take over",
            );
            return self.take_over(rules, now);
        }
        if are_new_accepting && !watch.has_moved {
            watch.has_moved = true;
            // Idle workers are woken in the order in which they began to wait: the old ones would get nearly all
            // connections.
            let old = self.slots.iter().filter(|slot| slot.role == Role::Serving);
            let pids: Vec<u32> = old.filter_map(|slot| Some(slot.worker()?.pid)).collect();
            let orders = pids.into_iter().map(|pid| Action::Send {
                pid,
                order: Order::GiveWay,
            });
            self.actions.extend(orders);
        }
        let Some(watch) = self.reload.as_mut().and_then(Reload::watch_mut) else {
            return;
        };
        if watch.look_at <= now {
            let next = now + LOOK;
            watch.look_at = if now < watch.until {
                next.min(watch.until)
            } else {
                next
            };
            self.actions.push(Action::Count);
        }
    }

    /// Evaluates new response counts.
    pub(super) fn judge_watched(&mut self, counts: &[Responses], now: Instant) {
        let role_of = |pid: u32| {
            let mut slots = self.slots.iter();
            let slot = slots.find(|slot| slot.worker().is_some_and(|worker| worker.pid == pid))?;
            match slot.role {
                Role::Coming => Some(true),
                Role::Serving => Some(false),
                Role::Free | Role::Successor | Role::Leaving => None,
            }
        };
        let Some(watch) = self.reload.as_mut().and_then(Reload::watch_mut) else {
            return;
        };
        watch.note(counts, role_of);
        let (new, old) = (watch.sum(true), watch.sum(false));
        if watch.is_worse() {
            let allowed = percent_words(watch.rules.canary_max_error_increase);
            let why = format!(
                "{new} of the new workers were errors, and {old} of the old ones in the same time \
                 (setting: canary_max_error_increase = {allowed}): rolled back"
            );
            return self.fail_reload(&why, None, now);
        }
        if watch.until <= now {
            let took = Seconds(now.saturating_duration_since(watch.since));
            let rules = watch.rules;
            self.log(
                Level::Info,
                format!(
                    "reload: watched for {took}: {new} of the new workers were errors, and {old} of the old ones"
                ),
            );
            self.take_over(rules, now);
        }
    }

    /// Whether a worker from before the reload still serves.
    fn does_old_serve(&self) -> bool {
        let mut workers = self.serving().filter_map(Slot::worker);
        workers.any(|worker| worker.opened.is_some() && !worker.is_killed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_may_exceed_the_other_by_so_much_and_no_more() {
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
