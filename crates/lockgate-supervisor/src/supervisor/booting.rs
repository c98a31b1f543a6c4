//! Worker startup and exit: the orders to a worker that is ready, and its replacement when it fails to boot or dies.

use std::time::{Duration, Instant};

use lockgate_observe::Level;

use super::farewell::{exit_cause, farewell, last_requests};
use super::reload::{ENDING, Reload};
use super::watch::WATCHED;
use super::worker::{Role, Seconds, Sentence, Slot, Tenant, Worker};
use super::{Action, Fact, Order, Rules, Stage, Supervisor};
use crate::back_off::BackOff;
use crate::{BAD_FORK, Ending, Unfinished};

/// The exit code when a worker dies during the first boot without reporting a reason, or is not ready in time.
const UNEXPLAINED_BOOT_FAILURE: i32 = 3;
/// How often in a row a template may fork a worker with a lock that is never released.
const MOST_BAD_FORKS: u32 = 5;
/// A worker that dies sooner than this after it was ready counts as not having served.
const SERVED: Duration = Duration::from_secs(1);
/// The server's exit code when no worker could be forked.
const CANNOT_START: i32 = 1;
/// A worker that has served this long clears the failure record of its slot.
const HEALTHY: Duration = Duration::from_secs(10);
/// How long a worker may take to exit after it has reported a boot failure.
const FAILED_GRACE: Duration = Duration::from_secs(5);

impl Supervisor {
    pub(super) fn move_in(&mut self, slot: usize, pid: u32, now: Instant) {
        let boot_timeout = self.rules_for(slot).boot_timeout;
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        let mut worker = Worker::new(slot, pid, now);
        worker.boot_by = boot_timeout.map(|longest| now + longest);
        let is_stopping = !matches!(self.stage, Stage::Running);
        if is_stopping || matches!(place.role, Role::Free | Role::Leaving) {
            worker.sentence = Some(Sentence::NotNeeded);
            worker.kill_at = (!is_stopping).then(|| now + ENDING);
            self.actions.push(Action::Send {
                pid,
                order: Order::Stop,
            });
        }
        place.tenant = Tenant::Worker(worker);
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

    pub(super) fn try_fork_later(&mut self, slot: usize, reason: &str, now: Instant) {
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        let wait = place.back_off.after_failure();
        place.tenant = Tenant::Vacant {
            fork_at: now + wait,
        };
        if !matches!(self.stage, Stage::Running) {
            return;
        }
        let why = format!("no process could be made: {reason}");
        match place.role {
            Role::Coming => return self.fail_reload(&why, None, now),
            Role::Successor => return self.fail_succession(&why, now),
            // No worker is wanted in this slot any more, so none is missing.
            Role::Free | Role::Leaving => return,
            Role::Serving => {}
        }
        let again = Seconds(wait);
        self.log(
            Level::Error,
            format!(
                "no process could be made for worker {slot}: {reason}; next attempt in {again}"
            ),
        );
    }

    /// The application could not be loaded, so there is no worker.
    pub(super) fn leave_vacant(&mut self, slot: usize, code: i32, text: String, now: Instant) {
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        let wait = place.back_off.after_failure();
        place.tenant = Tenant::Vacant {
            fork_at: now + wait,
        };
        let role = place.role;
        if !matches!(self.stage, Stage::Running) {
            return;
        }
        let why = summary(&text).to_owned();
        self.tell_boot_failure(&text);
        match role {
            Role::Coming => self.fail_reload(&why, Some(&text), now),
            Role::Successor => self.fail_succession(&why, now),
            Role::Serving if !self.has_been_healthy => self.stop_by_boot_failure(code, now),
            Role::Serving => {
                let again = Seconds(wait);
                self.log(
                    Level::Error,
                    format!("worker {slot} cannot be made: {why}; next attempt in {again}"),
                );
            }
            Role::Free | Role::Leaving => {}
        }
    }

    /// Logs a boot failure once, because many workers may report the same at the same time.
    fn tell_boot_failure(&mut self, text: &str) {
        if self.last_boot_failure.as_deref() != Some(text) {
            self.log(Level::Error, text);
            self.last_boot_failure = Some(text.to_owned());
        }
    }

    pub(super) fn welcome(&mut self, pid: u32, now: Instant) {
        let Some(worker) = self.worker_mut(pid) else {
            return;
        };
        // It was asked to leave, or timed out, before its report was read.
        if worker.sentence.is_some() || worker.has_failed {
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
        if are_ready && self.announces_readiness && matches!(self.stage, Stage::Running) {
            self.announces_readiness = false;
            match self.wanted {
                1 => self.log(Level::Info, "the only worker is ready"),
                count => self.log(Level::Info, format!("all {count} workers are ready")),
            }
            if self.delay.is_none() {
                self.tell_ready();
            }
        }
    }

    pub(super) fn hear_failure(&mut self, pid: u32, code: i32, text: String, now: Instant) {
        let is_running = matches!(self.stage, Stage::Running);
        let Some(worker) = self
            .worker_mut(pid)
            .filter(|worker| worker.ready.is_none() && worker.sentence.is_none())
        else {
            return;
        };
        worker.has_failed = true;
        worker.kill_at = Some(now + FAILED_GRACE);
        let place = worker.slot;
        let why = format!("{worker}: {}", summary(&text));
        if !is_running {
            return;
        }
        if code == BAD_FORK && self.is_forked_again(place, &why) {
            return;
        }
        let code = if code == BAD_FORK { CANNOT_START } else { code };
        self.tell_boot_failure(&text);
        match self.slots[place].role {
            Role::Coming => self.fail_reload(&why, Some(&text), now),
            Role::Successor => self.fail_succession(&why, now),
            Role::Serving if !self.has_been_healthy => self.stop_by_boot_failure(code, now),
            Role::Serving | Role::Free | Role::Leaving => {}
        }
    }

    /// A worker was forked while another thread of the template held a lock. Whether another fork is worth trying.
    fn is_forked_again(&mut self, place: usize, why: &str) -> bool {
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
            format!("{why}; the template forks again (attempt {attempt} of {MOST_BAD_FORKS})"),
        );
        true
    }

    /// The deadline for the boot, if one applies.
    pub(super) fn boot_deadline(&self, worker: &Worker) -> Option<Instant> {
        let counts = worker.is_booting() && matches!(self.stage, Stage::Running);
        worker.boot_by.filter(|_| counts)
    }

    /// Ends workers that have not become ready in time.
    pub(super) fn end_slow_boots(&mut self, now: Instant) {
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
                    worker.kill_at = Some(now + ENDING);
                    let pid = worker.pid;
                    self.log(Level::Error, format!("{why}: it is ended"));
                    self.actions.push(Action::Send {
                        pid,
                        order: Order::Stop,
                    });
                    if !self.has_been_healthy {
                        self.stop_by_boot_failure(UNEXPLAINED_BOOT_FAILURE, now);
                    }
                }
            }
            if !matches!(self.stage, Stage::Running) {
                return;
            }
        }
    }

    pub(super) fn bury(
        &mut self,
        pid: u32,
        ending: Ending,
        memory_ran_out: Option<bool>,
        unfinished: &[Unfinished],
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
        let vacancy = Tenant::Vacant { fork_at: now };
        let role = slot.role;
        let Tenant::Worker(worker) = std::mem::replace(&mut slot.tenant, vacancy) else {
            return;
        };
        if worker.is_bad_fork && matches!(self.stage, Stage::Running) {
            // It was logged when it was reported; the slot is now vacant.
            return;
        }
        let (mut level, mut message) = farewell(&worker, ending, memory_ran_out, now);
        let cause = exit_cause(&worker, ending, memory_ran_out);
        self.actions.push(Action::Record(Fact::WorkerExited(cause)));
        match &self.stage {
            Stage::Running => match role {
                Role::Coming if worker.opened.is_some() => {
                    message.push_str(&last_requests(unfinished));
                    self.log(level, message);
                    return self.fail_reload(&format!("{worker} has died {WATCHED}"), None, now);
                }
                Role::Coming => return self.fail_reload(&message, None, now),
                Role::Successor => {
                    self.log(level, message);
                    return self.fail_succession("it has died", now);
                }
                // It never served, and the reason was logged when it was given up.
                Role::Leaving if worker.opened.is_none() && level != Level::Error => {
                    level = Level::Debug;
                }
                Role::Leaving | Role::Free => {}
                Role::Serving if !self.has_been_healthy => {
                    self.log(level, message);
                    return self.stop_by_boot_failure(UNEXPLAINED_BOOT_FAILURE, now);
                }
                Role::Serving if self.inherit(pid) => {
                    self.slots[worker.slot].role = Role::Leaving;
                    message.push_str("; its successor is there already");
                }
                Role::Serving => {
                    let slot = &mut self.slots[worker.slot];
                    let wait = restart_delay(&mut slot.back_off, worker.served(now));
                    slot.tenant = Tenant::Vacant {
                        fork_at: now + wait,
                    };
                    let is_held_back = self.fork_at(&self.slots[worker.slot]).is_none();
                    message.push_str(&match wait {
                        _ if is_held_back => "; the reload that goes on replaces it".to_owned(),
                        Duration::ZERO => "; it is replaced at once".to_owned(),
                        wait => format!("; it is replaced in {}", Seconds(wait)),
                    });
                }
            },
            // One message about a failed start is enough; the siblings only left because of it.
            Stage::Stopping(stop) if stop.code != 0 && level != Level::Error => {
                level = Level::Debug
            }
            Stage::Stopping(_) | Stage::Gone => {}
        }
        // A worker that leaves as it was asked to has informed its clients itself.
        let is_as_asked = worker.sentence == Some(Sentence::NotNeeded) && ending.is_clean();
        if !is_as_asked {
            message.push_str(&last_requests(unfinished));
        }
        self.log(level, message);
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

/// Counts the end of a worker in its slot; returns how long the slot stays empty.
pub(super) fn restart_delay(back_off: &mut BackOff, served: Duration) -> Duration {
    if served >= HEALTHY {
        back_off.reset();
    }
    if served >= SERVED {
        back_off.after_service()
    } else {
        back_off.after_failure()
    }
}
