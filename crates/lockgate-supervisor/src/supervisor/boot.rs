//! Worker startup and exit: what follows a fork, a report of readiness or of a boot failure, and a death.

use std::time::{Duration, Instant};

use lockgate_history::{EventKind, EventSubject};
use lockgate_observe::{GunicornEvent, Level};

use super::canary_counts::DURING_CANARY;
use super::event::{Action, BAD_FORK, Order, Rules};
use super::exit_report::{as_gunicorn, exit_cause, exit_report, last_requests};
use super::operations::{CANCEL_TIMEOUT, Reload};
use super::progress_event::ProgressEvent;
use super::state::{Stage, Supervisor};
use super::worker::{LONG_BOOT, Role, ShutdownReason, Slot, SlotState, Worker};
use crate::processes::exit_status::ExitStatus;
use crate::processes::in_flight::InFlightRequest;
use crate::seconds::Seconds;

/// The exit code when a worker dies during the first boot without reporting a reason, or is not ready in time.
const UNEXPLAINED_BOOT_FAILURE: i32 = 3;
/// How many consecutive forks of a worker may find a lock held that is never released.
const MOST_BAD_FORKS: u32 = 5;
/// The server's exit code when no worker could be forked.
const CANNOT_START: i32 = 1;
/// How long a worker may take to exit after it has reported a boot failure.
const FAILED_EXIT_TIMEOUT: Duration = Duration::from_secs(5);

impl Supervisor {
    pub(super) fn on_forked(&mut self, slot: usize, pid: u32, now: Instant) {
        let boot_timeout = self.rules_for(slot).boot_timeout;
        let is_stopping = !self.is_running();
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        let mut worker = Worker::new(slot, pid, now);
        worker.boot_by = boot_timeout.map(|longest| now + longest);
        let is_needed = !is_stopping && !matches!(place.role, Role::Free | Role::Leaving);
        if !is_needed {
            worker.shutdown_reason = Some(ShutdownReason::NotNeeded);
            worker.kill_at = (!is_stopping).then(|| now + CANCEL_TIMEOUT);
        }
        place.state = SlotState::Worker(worker);
        if !is_needed {
            self.send(pid, Order::Stop);
        }
        self.log(
            Level::Debug,
            format!("worker {slot} (pid {pid}) is booting"),
        );
    }

    /// The rules of the worker in this slot.
    fn rules_for(&self, slot: usize) -> &Rules {
        let is_coming = self
            .slots
            .get(slot)
            .is_some_and(|slot| slot.role == Role::Coming);
        self.reload
            .as_ref()
            .filter(|_| is_coming)
            .and_then(Reload::rules)
            .unwrap_or(&self.rules)
    }

    pub(super) fn on_fork_failed(&mut self, slot: usize, reason: &str, now: Instant) {
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        let wait = place.back_off.after_failure();
        place.state = SlotState::Vacant {
            fork_at: now + wait,
        };
        let role = place.role;
        if !self.is_running() {
            return;
        }
        let why = format!("cannot fork a worker: {reason}");
        match role {
            Role::Coming => return self.fail_reload(&why, None, now),
            Role::Successor => return self.fail_succession(&why, now),
            // No worker is wanted in this slot any more.
            Role::Free | Role::Leaving => return,
            Role::Serving => {}
        }
        let again = Seconds(wait);
        self.log(
            Level::Error,
            format!("cannot fork worker {slot}: {reason}; next attempt in {again}"),
        );
    }

    /// The application could not be loaded, so there is no worker.
    pub(super) fn on_load_failed(&mut self, slot: usize, code: i32, text: String, now: Instant) {
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        let wait = place.back_off.after_failure();
        place.state = SlotState::Vacant {
            fork_at: now + wait,
        };
        let role = place.role;
        if !self.is_running() {
            return;
        }
        let why = summary(&text).to_owned();
        self.log_boot_failure(code, &text);
        match role {
            Role::Coming => self.fail_reload(&why, Some(&text), now),
            Role::Successor => self.fail_succession(&why, now),
            Role::Serving if !self.has_been_healthy => self.stop_by_boot_failure(code, now),
            Role::Serving => {
                let again = Seconds(wait);
                self.log(
                    Level::Error,
                    format!("cannot start worker {slot}: {why}; next attempt in {again}"),
                );
            }
            Role::Free | Role::Leaving => {}
        }
    }

    /// Logs a boot failure once, because many workers may report the same at the same time.
    fn log_boot_failure(&mut self, code: i32, text: &str) {
        if self.last_boot_failure.as_deref() != Some(text) {
            let report = text.to_owned();
            self.log_as(
                GunicornEvent::BootFailed { code, report },
                Level::Error,
                text,
            );
            self.last_boot_failure = Some(text.to_owned());
        }
    }

    pub(super) fn on_ready(&mut self, pid: u32, now: Instant) {
        let Some(worker) = self.worker_mut(pid) else {
            return;
        };
        // It was ordered to stop, or timed out, before its report was read.
        if worker.shutdown_reason.is_some() || worker.has_failed {
            return;
        }
        worker.ready = Some(now);
        let place = worker.slot;
        let message = format!(
            "{worker} ready in {}",
            Seconds(now.saturating_duration_since(worker.forked))
        );
        self.log(Level::Info, message);
        self.slots[place].bad_forks = 0;
        match self.slots[place].role {
            Role::Serving => self.open(place, now),
            Role::Successor => self.open_successor(now),
            Role::Coming => return self.count_ready(now),
            Role::Free | Role::Leaving => return,
        }
        self.has_been_healthy = true;
        self.last_boot_failure = None;
        let are_ready = self
            .serving()
            .all(|slot| slot.worker().is_some_and(|worker| worker.ready.is_some()));
        if are_ready && self.announces_readiness && self.is_running() {
            self.announces_readiness = false;
            match self.wanted {
                1 => self.log(Level::Info, "the worker is ready"),
                count => self.log(Level::Info, format!("all {count} workers are ready")),
            }
            if !self.reported.is_ready {
                self.set_subject(EventKind::Start.into());
            }
            if self.delay.is_none() {
                self.report_ready();
            }
        }
    }

    pub(super) fn on_boot_failed(&mut self, pid: u32, code: i32, text: String, now: Instant) {
        let is_running = self.is_running();
        let Some(worker) = self
            .worker_mut(pid)
            .filter(|worker| worker.ready.is_none() && worker.shutdown_reason.is_none())
        else {
            return;
        };
        worker.has_failed = true;
        worker.kill_at = Some(now + FAILED_EXIT_TIMEOUT);
        let place = worker.slot;
        let why = format!("{worker}: {}", summary(&text));
        if !is_running {
            return;
        }
        if code == BAD_FORK && self.retry_bad_fork(place, &why) {
            return;
        }
        let code = if code == BAD_FORK { CANNOT_START } else { code };
        self.log_boot_failure(code, &text);
        match self.slots[place].role {
            Role::Coming => self.fail_reload(&why, Some(&text), now),
            Role::Successor => self.fail_succession(&why, now),
            Role::Serving if !self.has_been_healthy => self.stop_by_boot_failure(code, now),
            Role::Serving | Role::Free | Role::Leaving => {}
        }
    }

    /// A worker was forked while another thread of the fork server held a lock. Returns whether another fork follows.
    fn retry_bad_fork(&mut self, place: usize, why: &str) -> bool {
        let slot = &mut self.slots[place];
        if slot.bad_forks == MOST_BAD_FORKS {
            return false;
        }
        slot.bad_forks += 1;
        let attempt = slot.bad_forks;
        if let Some(worker) = slot.worker_mut() {
            worker.is_bad_fork = true;
        }
        self.log(
            Level::Warning,
            format!(
                "{why}; the fork server forks it again (attempt {attempt} of {MOST_BAD_FORKS})"
            ),
        );
        true
    }

    /// The deadline for the boot, if one applies.
    pub(super) fn boot_deadline(&self, worker: &Worker) -> Option<Instant> {
        let counts = worker.is_booting() && self.is_running();
        worker.boot_by.filter(|_| counts)
    }

    /// When it is reported that the worker still boots, if it does.
    pub(super) fn slow_at(&self, worker: &Worker) -> Option<Instant> {
        let counts = worker.is_booting() && self.is_running();
        worker.is_slow_at.filter(|_| counts)
    }

    /// Reports workers that have been booting for long, in one line.
    pub(super) fn report_slow_boots(&mut self, now: Instant) {
        if !self.is_running() {
            return;
        }
        let mut slow = Vec::new();
        for worker in self.slots.iter_mut().filter_map(Slot::worker_mut) {
            if worker.is_booting() && worker.is_slow_at.is_some_and(|at| at <= now) {
                worker.is_slow_at = None;
                slow.push(worker.to_string());
            }
        }
        let who = match slow.as_slice() {
            [] => return,
            [worker] => worker.clone(),
            [first, others @ ..] => format!("{first} and {} more", others.len()),
        };
        let message = format!(
            "{who}: not ready after {}, because the import of the application or its warmup has not ended (setting: \
             boot_timeout)",
            Seconds(LONG_BOOT)
        );
        self.log(Level::Warning, message);
    }

    /// Stops workers that were not ready in time.
    pub(super) fn stop_slow_boots(&mut self, now: Instant) {
        let is_late = |worker: &&Worker| self.boot_deadline(worker).is_some_and(|at| at <= now);
        let late: Vec<usize> = self
            .slots
            .iter()
            .filter_map(Slot::worker)
            .filter(is_late)
            .map(|worker| worker.slot)
            .collect();
        for place in late {
            let longest = self.rules_for(place).boot_timeout.unwrap_or_default();
            let role = self.slots[place].role;
            // The first one may already have stopped the others.
            let Some(worker) = self.slots[place]
                .worker_mut()
                .filter(|worker| worker.is_booting())
            else {
                continue;
            };
            let why = format!(
                "{worker} was not ready within {} (setting: boot_timeout)",
                Seconds(longest)
            );
            match role {
                Role::Coming => self.fail_reload(&why, None, now),
                Role::Successor => self.fail_succession(&why, now),
                Role::Serving | Role::Free | Role::Leaving => {
                    worker.has_failed = true;
                    worker.kill_at = Some(now + CANCEL_TIMEOUT);
                    let pid = worker.pid;
                    self.log(Level::Error, format!("{why}: stopping it"));
                    self.send(pid, Order::Stop);
                    if !self.has_been_healthy {
                        self.stop_by_boot_failure(UNEXPLAINED_BOOT_FAILURE, now);
                    }
                }
            }
            if !self.is_running() {
                return;
            }
        }
    }

    pub(super) fn on_exited(
        &mut self,
        pid: u32,
        exit_status: ExitStatus,
        memory_ran_out: Option<bool>,
        in_flight: &[InFlightRequest],
        now: Instant,
    ) {
        // Ignore reparented children when running as PID 1; their exit codes mean nothing here.
        let Some(slot) = self
            .slots
            .iter_mut()
            .find(|slot| slot.worker().is_some_and(|worker| worker.pid == pid))
        else {
            return;
        };
        let vacancy = SlotState::Vacant { fork_at: now };
        let role = slot.role;
        let SlotState::Worker(worker) = std::mem::replace(&mut slot.state, vacancy) else {
            return;
        };
        if worker.is_bad_fork && self.is_running() {
            // It was logged when it was reported; the slot is now vacant.
            return;
        }
        let (mut level, mut message) = exit_report(&worker, exit_status, memory_ran_out, now);
        let cause = exit_cause(&worker, exit_status, memory_ran_out);
        self.actions
            .push(Action::Record(ProgressEvent::WorkerExited(cause)));
        match &self.stage {
            Stage::Running => match role {
                Role::Coming if worker.opened.is_some() => {
                    message.push_str(&last_requests(in_flight));
                    self.log_exit(&worker, exit_status, level, message);
                    return self.fail_reload(
                        &format!("{worker} has died {DURING_CANARY}"),
                        None,
                        now,
                    );
                }
                Role::Coming => return self.fail_reload(&message, None, now),
                Role::Successor => {
                    self.log_exit(&worker, exit_status, level, message);
                    return self.fail_succession("it has died", now);
                }
                // It never served, and the reason was logged when it was stopped.
                Role::Leaving if worker.opened.is_none() && level != Level::Error => {
                    level = Level::Debug;
                }
                Role::Leaving | Role::Free => {}
                Role::Serving if !self.has_been_healthy => {
                    self.log_exit(&worker, exit_status, level, message);
                    return self.stop_by_boot_failure(UNEXPLAINED_BOOT_FAILURE, now);
                }
                Role::Serving if self.promote_successor(pid) => {
                    self.slots[worker.slot].role = Role::Leaving;
                    message.push_str("; its replacement already runs");
                }
                Role::Serving => {
                    let slot = &mut self.slots[worker.slot];
                    let wait = slot.restart_delay(worker.served(now));
                    slot.state = SlotState::Vacant {
                        fork_at: now + wait,
                    };
                    let is_deferred = self.fork_at(&self.slots[worker.slot]).is_none();
                    message.push_str(&match wait {
                        _ if is_deferred => "; the reload in progress replaces it".to_owned(),
                        Duration::ZERO => "; it is replaced at once".to_owned(),
                        wait => format!("; it is replaced in {}", Seconds(wait)),
                    });
                }
            },
            // One message about a failed start is enough; the other workers stop because of it.
            Stage::Stopping(stop) if stop.code != 0 && level != Level::Error => {
                level = Level::Debug
            }
            Stage::Stopping(_) | Stage::Stopped => {}
        }
        // A worker that has stopped as ordered has finished its requests.
        let is_as_ordered =
            worker.shutdown_reason == Some(ShutdownReason::NotNeeded) && exit_status.is_clean();
        if !is_as_ordered {
            message.push_str(&last_requests(in_flight));
        }
        self.log_exit(&worker, exit_status, level, message);
    }
}

impl Supervisor {
    fn log_exit(
        &mut self,
        worker: &Worker,
        exit_status: ExitStatus,
        level: Level,
        message: String,
    ) {
        match as_gunicorn(worker, exit_status, &message) {
            Some(event) => self.log_as(event, level, message),
            None => self.log(level, message),
        }
        // Those that were ordered to exit did so, unless the level says otherwise.
        let is_as_ordered = worker.shutdown_reason == Some(ShutdownReason::NotNeeded);
        if level <= Level::Warning || (level == Level::Info && !is_as_ordered) {
            self.set_subject(EventSubject::of_worker(EventKind::WorkerDied, worker.slot));
        }
    }
}

/// The most useful line of a report: the first one, or the last one of a bare traceback.
fn summary(text: &str) -> &str {
    let mut lines = text.lines();
    match lines.next().unwrap_or_default() {
        first if first.starts_with("Traceback") => lines.next_back().unwrap_or(first),
        first => first,
    }
}
