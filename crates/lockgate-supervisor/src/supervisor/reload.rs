//! Reloads: a new generation of workers boots beside the old one. It takes over when all of its workers are ready, or
//! not at all.
//!
//! Invariant: until every new worker is ready, and the canary period has ended well, serving workers are not touched.

use std::time::{Duration, Instant};

use lockgate_observe::Level;

use super::watch::Watch;
use super::worker::{Role, Seconds, Sentence, Slot, Tenant};
use super::{Action, Fact, Order, Request, Rules, Stage, Supervisor};

/// How long a cancelled worker may take to exit: it has nothing to finish.
pub(super) const ENDING: Duration = Duration::from_secs(3);
/// How long a new worker may take from the order to accept until it accepts; usually microseconds.
pub(super) const OPENING: Duration = Duration::from_secs(5);

/// A reload in progress.
#[derive(Debug)]
pub(super) struct Reload {
    since: Instant,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// Settings are read, addresses bound.
    Preparing,
    /// The new workers load the application.
    Booting(Rules),
    /// The canary period: new workers answer beside the old ones.
    Watching(Watch),
    /// The new workers may accept; the old ones still do.
    Moving { by: Instant },
}

impl Reload {
    /// The rules of the new generation, until it is the present one.
    pub(super) fn rules(&self) -> Option<&Rules> {
        match &self.step {
            Step::Booting(rules) => Some(rules),
            Step::Watching(watch) => Some(&watch.rules),
            _ => None,
        }
    }

    pub(super) fn watch_mut(&mut self) -> Option<&mut Watch> {
        match &mut self.step {
            Step::Watching(watch) => Some(watch),
            _ => None,
        }
    }

    pub(super) fn begin_watch(&mut self, watch: Watch) {
        self.step = Step::Watching(watch);
    }

    fn moves_by(&self) -> Option<Instant> {
        match self.step {
            Step::Moving { by } => Some(by),
            _ => None,
        }
    }

    /// When to check again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Moving { by } => Some(by),
            Step::Watching(ref watch) => Some(watch.look_at),
            _ => None,
        }
    }
}

impl Supervisor {
    /// Requests a reload. It begins when a worker has been healthy and no other reload is in progress.
    pub(super) fn ask_for_reload(&mut self) {
        if !matches!(self.stage, Stage::Running) || self.delay.is_some() {
            return self.log(Level::Debug, "the server is stopping: no reload");
        }
        if self.reload.is_some() {
            self.log(Level::Info, "a reload is under way: one more follows it");
        } else if !self.has_been_healthy {
            self.log(
                Level::Info,
                "no worker is ready yet: the reload follows when one is",
            );
        }
        self.is_reload_wanted = true;
    }

    /// Takes the steps that do not depend on a single event.
    pub(super) fn go_on_reloading(&mut self, now: Instant) {
        self.go_on_watching(now);
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
            step: Step::Preparing,
        });
        self.log(
            Level::Info,
            "reload: new workers are made beside those that serve",
        );
        self.tell_reloading();
        self.actions.push(Action::Record(Fact::ReloadBegun));
        self.actions.push(Action::Prepare);
    }

    /// The new generation is prepared: boots its workers.
    pub(super) fn boot_next(&mut self, rules: Rules, now: Instant) {
        let Some(reload) = &mut self.reload else {
            // The server was asked to stop meanwhile.
            return self.actions.push(Action::Discard);
        };
        reload.step = Step::Booting(rules);
        let wanted = self.wanted_by(&rules);
        for _ in 0..wanted {
            self.give_slot(Role::Coming, now);
        }
        self.actions
            .push(Action::Record(Fact::ReloadReady { ready: 0, wanted }));
    }

    /// A worker count that was changed by signals stays, unless the setting itself has changed.
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
        self.log(Level::Info, format!("reload: {ready} of {all} are ready"));
        self.actions
            .push(Action::Record(Fact::ReloadReady { ready, wanted: all }));
        let Some(Reload {
            step: Step::Booting(rules),
            ..
        }) = self.reload
        else {
            return;
        };
        if ready == all && !self.begin_watch(rules, now) {
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
        self.actions.push(Action::Move);
        self.actions
            .extend(opened.into_iter().map(|pid| Action::Send {
                pid,
                order: Order::Open,
            }));
        if let Some(reload) = &mut self.reload {
            reload.step = Step::Moving { by: now + OPENING };
            self.actions.push(Action::Record(Fact::ReloadMoving));
        }
    }

    /// The new workers accept: retires the old ones.
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
        self.log(Level::Info, message);
        if self.delay.is_none() {
            self.tell_ready();
        }
        self.actions.push(Action::Record(Fact::ReloadDone));
        self.resize_as_asked(now);
    }

    /// The reload has failed; the old generation is unaffected. `report` is the text from its worker, if there is one.
    pub(super) fn fail_reload(&mut self, why: &str, report: Option<&str>, now: Instant) {
        if self.reload.take().is_none() {
            return;
        }
        self.tell_failure(why, report);
        let places: Vec<usize> = self.numbers(Role::Coming).collect();
        for place in places {
            let worker = self.slots[place].worker();
            match worker.and_then(|worker| worker.opened) {
                None => self.end_unborn(place, now),
                Some(_) => self.retire(place, now),
            }
        }
        self.actions.push(Action::Discard);
        self.log(
            Level::Error,
            format!("reload failed: {why}; the workers that served before go on unchanged"),
        );
        self.tell_failed_reload(why);
        self.resize_as_asked(now);
    }

    fn tell_failure(&mut self, why: &str, report: Option<&str>) {
        // The first line of a report is the reason.
        let why = match report.and_then(|report| report.split_once('\n')) {
            Some((_, rest)) => format!("{why}\n{rest}"),
            None => why.to_owned(),
        };
        self.actions
            .push(Action::Record(Fact::ReloadFailed { why }));
    }

    /// Gives up the reload, because the server stops.
    pub(super) fn give_up_reload(&mut self) {
        if self.reload.take().is_some() {
            self.tell_failure("the server has been asked to stop", None);
        }
    }

    /// Ends a worker that has never served.
    pub(super) fn end_unborn(&mut self, place: usize, now: Instant) {
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        slot.role = Role::Leaving;
        let Some(worker) = slot.worker_mut() else {
            return;
        };
        // A failed worker is already leaving with its report.
        if worker.has_failed || worker.sentence.is_some() {
            return;
        }
        worker.sentence = Some(Sentence::NotNeeded);
        worker.kill_at = Some(now + ENDING);
        self.actions.push(Action::Send {
            pid: worker.pid,
            order: Order::Stop,
        });
    }

    /// Asks a worker to leave after others have taken over.
    pub(super) fn retire(&mut self, place: usize, now: Instant) {
        let kill_at = now + self.rules.graceful_timeout;
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        slot.role = Role::Leaving;
        let Some(worker) = slot
            .worker_mut()
            .filter(|worker| worker.sentence.is_none() && !worker.has_failed && !worker.is_killed)
        else {
            return;
        };
        worker.sentence = Some(Sentence::NotNeeded);
        worker.kill_at = Some(kill_at);
        // Before it is open a worker reads no orders, and its signal handler exits.
        let order = match worker.opened {
            Some(_) => Order::Retire,
            None => Order::Drain,
        };
        self.actions.push(Action::Send {
            pid: worker.pid,
            order,
        });
    }

    /// Delays a signal that changes the number of workers until the reload is over.
    pub(super) fn resize_later(&mut self, request: Request) {
        self.log(
            Level::Info,
            "a reload is under way: the number of workers changes after it",
        );
        self.resizes.push(request);
    }

    fn resize_as_asked(&mut self, now: Instant) {
        for request in std::mem::take(&mut self.resizes) {
            self.obey(request, now);
        }
    }

    /// A slot for one more worker: a free one or a new one.
    pub(super) fn give_slot(&mut self, role: Role, now: Instant) -> usize {
        let free = self
            .slots
            .iter()
            .position(|slot| slot.role == Role::Free && slot.is_vacant());
        match free {
            Some(place) => {
                self.slots[place] = Slot::vacant(role, now);
                place
            }
            None => {
                self.slots.push(Slot::vacant(role, now));
                self.slots.len() - 1
            }
        }
    }

    /// When a worker may be forked in this slot. During a reload the old generation gets a new worker only when it has
    /// none left, because the code on disk is no longer its own.
    pub(super) fn fork_at(&self, slot: &Slot) -> Option<Instant> {
        let Tenant::Vacant { fork_at } = slot.tenant else {
            return None;
        };
        let is_wanted = match slot.role {
            Role::Coming | Role::Successor => true,
            Role::Serving => {
                let reload = self.reload.as_ref();
                let is_next_there = reload.and_then(Reload::rules).is_some();
                !is_next_there || self.serving().all(|slot| slot.worker().is_none())
            }
            Role::Free | Role::Leaving => false,
        };
        is_wanted.then_some(fork_at)
    }
}
