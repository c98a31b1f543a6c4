//! Reloads: a new generation of workers boots beside the old one. It takes over when all of its workers are ready, or
//! not at all.
//!
//! Invariant: until every new worker is ready, and the canary period has ended well, serving workers are not touched.

use std::time::Instant;

use lockgate_history::EventKind;
use lockgate_observe::Level;

use super::event::{Action, Order, Request, Rules};
use super::operations::{OPEN_TIMEOUT, Reload, ReloadStep};
use super::progress_event::ProgressEvent;
use super::state::Supervisor;
use super::worker::{Role, Slot};
use crate::seconds::Seconds;

impl Supervisor {
    /// Requests a reload. It begins when a worker has been healthy and no other reload is in progress.
    pub(super) fn request_reload(&mut self) {
        if !self.is_running() || self.delay.is_some() {
            return self.log(Level::Debug, "reload ignored: the server is stopping");
        }
        if self.reload.is_some() {
            self.log(Level::Info, "reload queued: another reload is in progress");
        } else if !self.has_been_healthy {
            self.log(Level::Info, "reload deferred until a worker is ready");
        }
        self.is_reload_wanted = true;
    }

    /// Takes the steps that do not depend on a single event.
    pub(super) fn continue_reload(&mut self, now: Instant) {
        self.continue_canary(now);
        let is_moved = self
            .reload
            .as_ref()
            .and_then(Reload::moves_by)
            .is_some_and(|by| by <= now || self.are_accepting());
        if is_moved {
            self.end_reload(now);
        }
        // An upgrade replaces the workers too.
        let is_due = self.is_reload_wanted && self.has_been_healthy && !self.is_upgrading();
        if is_due && self.reload.is_none() && !self.is_succession_moving() {
            self.begin_reload(now);
        }
    }

    /// Whether all workers that may accept do so, and there is at least one.
    fn are_accepting(&self) -> bool {
        let mut open = self
            .serving()
            .filter_map(Slot::worker)
            .filter(|worker| worker.opened.is_some())
            .peekable();
        open.peek().is_some() && open.all(|worker| worker.is_accepting)
    }

    fn begin_reload(&mut self, now: Instant) {
        self.is_reload_wanted = false;
        self.last_boot_failure = None;
        self.cancel_succession(now);
        self.reload = Some(Reload {
            since: now,
            step: ReloadStep::Preparing,
        });
        self.log_event(
            EventKind::ReloadBegun,
            Level::Info,
            "reload: starting new workers beside the serving ones",
        );
        self.report_reloading();
        self.actions
            .push(Action::Record(ProgressEvent::ReloadBegun));
        self.actions.push(Action::Prepare);
    }

    /// The new generation is prepared: boots its workers.
    pub(super) fn on_prepared(&mut self, rules: Rules, now: Instant) {
        let preparing =
            (self.reload.as_mut()).filter(|reload| matches!(reload.step, ReloadStep::Preparing));
        let Some(reload) = preparing else {
            // A stop has ended the reload.
            return self.actions.push(Action::Discard);
        };
        reload.step = ReloadStep::Booting(rules);
        let wanted = self.wanted_by(&rules);
        let announcement = Action::AnnounceReload { workers: wanted };
        self.actions.push(announcement);
        for _ in 0..wanted {
            self.allocate_slot(Role::Coming, now);
        }
        self.actions
            .push(Action::Record(ProgressEvent::ReloadReady {
                ready: 0,
                wanted,
            }));
    }

    /// The settings are wrong, or an address cannot be bound.
    pub(super) fn on_prepare_failed(&mut self, why: &str, report: Option<&str>, now: Instant) {
        if self.reload.is_some()
            && let Some(report) = report
        {
            let message = format!("reload: cannot evaluate the configuration {report}");
            self.log(Level::Error, message);
        }
        self.fail_reload(why, report, now);
    }

    /// A number of workers that was changed at run time is kept, unless the setting itself has changed.
    fn wanted_by(&self, rules: &Rules) -> usize {
        if rules.workers == self.rules.workers {
            self.wanted
        } else {
            rules.workers.max(1)
        }
    }

    /// A new worker is ready; when all are, they take over.
    pub(super) fn count_ready(&mut self, now: Instant) {
        let coming = self.slots.iter().filter(|slot| slot.role == Role::Coming);
        let is_ready = |slot: &Slot| slot.worker().is_some_and(|worker| worker.ready.is_some());
        let (ready, all) = coming.fold((0, 0), |(ready, all), slot| {
            (ready + usize::from(is_ready(slot)), all + 1)
        });
        self.log(
            Level::Info,
            format!("reload: {ready} of {all} new workers are ready"),
        );
        self.actions
            .push(Action::Record(ProgressEvent::ReloadReady {
                ready,
                wanted: all,
            }));
        let Some(Reload {
            step: ReloadStep::Booting(rules),
            ..
        }) = self.reload
        else {
            return;
        };
        if ready == all && !self.begin_canary(rules, now) {
            self.take_over(rules, now);
        }
    }

    pub(super) fn take_over(&mut self, rules: Rules, now: Instant) {
        self.wanted = self.wanted_by(&rules);
        self.rules = rules;
        self.forget_replacements();
        let mut opened = Vec::new();
        for slot in &mut self.slots {
            match slot.role {
                Role::Serving => slot.role = Role::Leaving,
                Role::Coming => {
                    slot.role = Role::Serving;
                    // After a canary period it accepts already.
                    if let Some(worker) = slot.worker_mut()
                        && worker.opened.is_none()
                    {
                        worker.opened = Some(now);
                        worker.last_heard = now;
                        opened.push(worker.pid);
                    }
                }
                Role::Free | Role::Successor | Role::Leaving => {}
            }
        }
        self.actions.push(Action::SwitchOver);
        self.actions
            .extend(opened.into_iter().map(|pid| Action::Send {
                pid,
                order: Order::Open,
            }));
        if let Some(reload) = &mut self.reload {
            reload.step = ReloadStep::Moving {
                by: now + OPEN_TIMEOUT,
            };
            self.actions
                .push(Action::Record(ProgressEvent::ReloadMoving));
        }
    }

    /// The new workers accept connections: retires the old ones.
    fn end_reload(&mut self, now: Instant) {
        let Some(reload) = self.reload.take() else {
            return;
        };
        let places: Vec<usize> = self.numbers(Role::Leaving).collect();
        for place in places {
            self.retire(place, now);
        }
        let took = Seconds(now.saturating_duration_since(reload.since));
        let message = match self.wanted {
            1 => format!("reload: done in {took}, the new worker serves"),
            count => format!("reload: done in {took}, {count} new workers serve"),
        };
        self.log_event(EventKind::ReloadDone, Level::Info, message);
        if self.delay.is_none() {
            self.report_ready();
        }
        self.actions.push(Action::Record(ProgressEvent::ReloadDone));
        self.apply_deferred_resizes(now);
    }

    /// The reload has failed; the old generation is unaffected. `report` is the text from its worker, if there is one.
    pub(super) fn fail_reload(&mut self, why: &str, report: Option<&str>, now: Instant) {
        let Some(mut reload) = self.reload.take() else {
            return;
        };
        let kind = match reload.canary_mut() {
            Some(_) => EventKind::RolledBack,
            None => EventKind::ReloadFailed,
        };
        self.record_reload_failed(why, report);
        let places: Vec<usize> = self.numbers(Role::Coming).collect();
        for place in places {
            let worker = self.slots[place].worker();
            match worker.and_then(|worker| worker.opened) {
                None => self.cancel(place, now),
                Some(_) => self.retire(place, now),
            }
        }
        self.actions.push(Action::Discard);
        self.log_event(
            kind,
            Level::Error,
            format!("reload failed: {why}; the old workers continue to serve"),
        );
        self.report_reload_failed(why);
        self.apply_deferred_resizes(now);
    }

    fn record_reload_failed(&mut self, why: &str, report: Option<&str>) {
        // The first line of a report is the reason.
        let why = match report.and_then(|report| report.split_once('\n')) {
            Some((_, rest)) => format!("{why}\n{rest}"),
            None => why.to_owned(),
        };
        self.actions
            .push(Action::Record(ProgressEvent::ReloadFailed { why }));
    }

    /// Abandons the reload, because the server stops.
    pub(super) fn abandon_reload(&mut self) {
        if self.reload.take().is_some() {
            self.record_reload_failed("the server is stopping", None);
        }
    }

    /// Defers a change of the number of workers until the reload is over.
    pub(super) fn resize_later(&mut self, request: Request, now: Instant) {
        let message = "the number of workers will change after the reload in progress";
        self.log_resize(message, now);
        self.resizes.push(request);
    }

    fn apply_deferred_resizes(&mut self, now: Instant) {
        for request in std::mem::take(&mut self.resizes) {
            self.on_request(request, now);
        }
    }
}
