//! The canary period of a reload: new workers serve beside the old ones, and errors roll the reload back.
//!
//! Invariant: during the canary period, old workers that are alive continue as before.

use std::time::{Duration, Instant};

use lockgate_config::percent_words;
use lockgate_observe::Level;

use super::canary_counts::Canary;
use super::event::{Action, Order, Responses, Rules};
use super::operations::{Reload, ReloadStep};
use super::state::Supervisor;
use super::worker::{Role, Slot};
use crate::seconds::Seconds;

/// How often responses are counted.
const COUNT_INTERVAL: Duration = Duration::from_millis(250);

impl Supervisor {
    /// All new workers are ready. Returns whether there is a canary period before they take over; if so they begin to
    /// accept.
    pub(super) fn begin_canary(&mut self, rules: Rules, now: Instant) -> bool {
        let Some(period) = rules.canary_period else {
            return false;
        };
        if self.rules.canary_period.is_none() {
            self.log(
                Level::Warning,
                "reload: no canary period, because the old workers were started without it (setting: canary_period)",
            );
            return false;
        }
        if !self.does_old_serve() {
            return false;
        }
        if let Some(reload) = &mut self.reload {
            let count_at = now + COUNT_INTERVAL.min(period);
            let canary = Canary::new(rules, now, now + period, count_at);
            reload.step = ReloadStep::Canary(canary);
        }
        // Before the first of them accepts: earlier counts of its slot belong to another worker.
        self.actions.push(Action::CountResponses);
        self.log(
            Level::Info,
            format!(
                "reload: canary period: new workers serve beside the old ones for {} (setting: canary_period)",
                Seconds(period)
            ),
        );
        let places: Vec<usize> = self.numbers(Role::Coming).collect();
        for place in places {
            self.open(place, now);
        }
        true
    }

    /// Counts responses when due; ends the canary period when no old worker is left to roll back to.
    pub(super) fn continue_canary(&mut self, now: Instant) {
        let does_old_serve = self.does_old_serve();
        let are_new_accepting = (self.slots.iter())
            .filter(|slot| slot.role == Role::Coming)
            .all(|slot| slot.worker().is_some_and(|worker| worker.is_accepting));
        let Some(canary) = self.reload.as_mut().and_then(Reload::canary_mut) else {
            return;
        };
        if !does_old_serve {
            let rules = canary.rules;
            self.log(
                Level::Warning,
                "reload: the canary period ends early, because no old worker is left: the new ones take over",
            );
            return self.take_over(rules, now);
        }
        if are_new_accepting && !canary.has_moved {
            canary.has_moved = true;
            // Idle workers are woken in the order in which they began to wait: the old ones would get nearly all
            // connections.
            let old = self.slots.iter().filter(|slot| slot.role == Role::Serving);
            let pids: Vec<u32> = old.filter_map(|slot| Some(slot.worker()?.pid)).collect();
            let control = pids.into_iter().map(|pid| Action::Send {
                pid,
                order: Order::GiveWay,
            });
            self.actions.extend(control);
        }
        let Some(canary) = self.reload.as_mut().and_then(Reload::canary_mut) else {
            return;
        };
        if canary.count_at <= now {
            let next = now + COUNT_INTERVAL;
            canary.count_at = if now < canary.until {
                next.min(canary.until)
            } else {
                next
            };
            self.actions.push(Action::CountResponses);
        }
    }

    /// Evaluates new response counts.
    pub(super) fn on_counted(&mut self, counts: &[Responses], now: Instant) {
        let role_of = |pid: u32| {
            let mut slots = self.slots.iter();
            let slot = slots.find(|slot| slot.worker().is_some_and(|worker| worker.pid == pid))?;
            match slot.role {
                Role::Coming => Some(true),
                Role::Serving => Some(false),
                Role::Free | Role::Successor | Role::Leaving => None,
            }
        };
        let Some(canary) = self.reload.as_mut().and_then(Reload::canary_mut) else {
            return;
        };
        canary.update(counts, role_of);
        let (new, old) = (canary.sum(true), canary.sum(false));
        if canary.is_worse() {
            let allowed = percent_words(canary.rules.canary_max_error_increase);
            let why = format!(
                "errors of the new workers: {new}; of the old ones: {old} \
                 (setting: canary_max_error_increase = {allowed}): rolled back"
            );
            return self.fail_reload(&why, None, now);
        }
        if canary.until <= now {
            let took = Seconds(now.saturating_duration_since(canary.since));
            let rules = canary.rules;
            self.log(
                Level::Info,
                format!(
                    "reload: the canary period has passed after {took}; errors of the new workers: {new}; of the old ones: {old}"
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
