//! Decides what becomes of the workers: who is made, restarted, asked to leave, killed. Touches no process,
//! descriptor or clock: events and `now` go in, actions come out.
//!
//! Invariants: a slot has at most one process; every wait has a deadline; nothing that a worker does stops a
//! server that has once been healthy.

mod event;
mod farewell;
mod silence;
mod stopping;
mod worker;

use std::time::{Duration, Instant};

use lockgate_observe::Level;

pub use event::{Action, Event, Order, Request, Rules};

use crate::Ending;
use stopping::Stop;
use worker::{Seconds, Sentence, Slot, Tenant, Worker};

/// The exit code when a worker dies during the first boot without telling why.
const UNEXPLAINED_BOOT_FAILURE: i32 = 3;
/// A worker that dies sooner after it was ready has not really served.
const SERVED: Duration = Duration::from_secs(1);
/// A worker that has served for so long clears the record of its slot.
const HEALTHY: Duration = Duration::from_secs(10);
/// How long a worker may take to exit after it has reported a boot failure.
const FAILED_GRACE: Duration = Duration::from_secs(5);
/// The state of the server as a whole.
#[derive(Debug)]
pub struct Supervisor {
    rules: Rules,
    /// How many workers are wanted now; slots from here on are being emptied.
    wanted: usize,
    slots: Vec<Slot>,
    stage: Stage,
    /// Some worker has been ready once: from then on the server only stops when it is asked to.
    has_been_healthy: bool,
    announces_readiness: bool,
    last_boot_failure: Option<String>,
    last_event: Option<Instant>,
    actions: Vec<Action>,
}

#[derive(Debug)]
enum Stage {
    Running,
    Stopping(Stop),
    Gone,
}

impl Supervisor {
    /// A server without workers; [`Event::Start`] makes them.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            wanted: rules.workers.max(1),
            slots: Vec::new(),
            stage: Stage::Running,
            has_been_healthy: false,
            announces_readiness: true,
            last_boot_failure: None,
            last_event: None,
            actions: Vec::new(),
        }
    }

    /// Takes what has happened; gives what is to be done, in order. `now` never goes back.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        self.forgive_own_absence(now);
        match event {
            Event::Start => self.slots.resize_with(self.wanted, || Slot::vacant(now)),
            Event::Forked { slot, pid } => self.move_in(slot, pid, now),
            Event::ForkFailed { slot, reason } => self.try_fork_later(slot, &reason, now),
            Event::Ready { pid } => self.welcome(pid, now),
            Event::BootFailed { pid, code, text } => self.hear_failure(pid, code, text, now),
            Event::Heartbeat { pid } => {
                if let Some(worker) = self.worker_mut(pid) {
                    worker.last_heard = now;
                }
            }
            Event::Stuck { pid } => self.end_stuck(pid, now),
            Event::Exited { pid, ending } => self.bury(pid, ending, now),
            Event::Requested(request) => self.obey(request, now),
            Event::Tick => {}
        }
        self.keep_deadlines(now);
        std::mem::take(&mut self.actions)
    }

    /// When to call again with [`Event::Tick`] at the latest; `None`: only when something happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let forks = self
            .slots
            .iter()
            .take(self.wanted)
            .filter_map(|slot| match slot.tenant {
                Tenant::Vacant { fork_at } if matches!(self.stage, Stage::Running) => Some(fork_at),
                _ => None,
            });
        let kills = self.slots.iter().filter_map(|slot| slot.worker()?.kill_at);
        let stop = match &self.stage {
            Stage::Stopping(stop) => Some(stop.deadline),
            _ => None,
        };
        forks
            .chain(kills)
            .chain(stop)
            .chain(self.next_silence())
            .min()
    }

    fn move_in(&mut self, slot: usize, pid: u32, now: Instant) {
        let is_wanted = slot < self.wanted;
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        let mut worker = Worker::new(slot, pid, now);
        let is_stopping = !matches!(self.stage, Stage::Running);
        if is_stopping || !is_wanted {
            worker.sentence = Some(Sentence::NotNeeded);
            worker.kill_at = (!is_stopping).then(|| now + self.rules.graceful_timeout);
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

    fn try_fork_later(&mut self, slot: usize, reason: &str, now: Instant) {
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        let wait = place.back_off.after_failure();
        place.tenant = Tenant::Vacant {
            fork_at: now + wait,
        };
        let again = Seconds(wait);
        self.log(
            Level::Error,
            format!(
                "no process could be made for worker {slot}: {reason}; next attempt in {again}"
            ),
        );
    }

    fn welcome(&mut self, pid: u32, now: Instant) {
        let Some(worker) = self.worker_mut(pid) else {
            return;
        };
        worker.ready = Some(now);
        worker.last_heard = now;
        let message = format!(
            "{worker} ready in {}",
            Seconds(now.saturating_duration_since(worker.forked))
        );
        self.log(Level::Info, message);
        self.has_been_healthy = true;
        self.last_boot_failure = None;
        let mut wanted = self.slots.iter().take(self.wanted);
        let are_ready =
            wanted.all(|slot| slot.worker().is_some_and(|worker| worker.ready.is_some()));
        if are_ready && self.announces_readiness && matches!(self.stage, Stage::Running) {
            self.announces_readiness = false;
            match self.wanted {
                1 => self.log(Level::Info, "the only worker is ready"),
                count => self.log(Level::Info, format!("all {count} workers are ready")),
            }
        }
    }

    fn hear_failure(&mut self, pid: u32, code: i32, text: String, now: Instant) {
        let is_running = matches!(self.stage, Stage::Running);
        let Some(worker) = self.worker_mut(pid).filter(|worker| worker.ready.is_none()) else {
            return;
        };
        worker.has_failed = true;
        worker.kill_at = Some(now + FAILED_GRACE);
        if !is_running {
            return;
        }
        if self.last_boot_failure.as_deref() != Some(text.as_str()) {
            self.log(Level::Error, text.clone());
            self.last_boot_failure = Some(text);
        }
        if !self.has_been_healthy {
            self.stop_by_boot_failure(code, now);
        }
    }

    fn bury(&mut self, pid: u32, ending: Ending, now: Instant) {
        // Strangers that PID 1 inherits are nobody's business; their exit codes mean nothing here.
        let Some(slot) = self
            .slots
            .iter_mut()
            .find(|slot| slot.worker().is_some_and(|worker| worker.pid == pid))
        else {
            return;
        };
        let vacancy = Tenant::Vacant { fork_at: now };
        let Tenant::Worker(worker) = std::mem::replace(&mut slot.tenant, vacancy) else {
            return;
        };
        let (mut level, mut message) = farewell::farewell(&worker, ending, now);
        match &self.stage {
            Stage::Running
                if worker.slot >= self.wanted || worker.sentence == Some(Sentence::NotNeeded) => {}
            Stage::Running if !self.has_been_healthy => {
                self.log(level, message);
                return self.stop_by_boot_failure(UNEXPLAINED_BOOT_FAILURE, now);
            }
            Stage::Running => {
                let wait = restart_delay(slot, &worker, now);
                slot.tenant = Tenant::Vacant {
                    fork_at: now + wait,
                };
                message.push_str(&match wait {
                    Duration::ZERO => "; it is replaced at once".to_owned(),
                    wait => format!("; it is replaced in {}", Seconds(wait)),
                });
            }
            // One message about a failed start is enough; the siblings only left because of it.
            Stage::Stopping(stop) if stop.code != 0 && level != Level::Error => {
                level = Level::Debug
            }
            Stage::Stopping(_) | Stage::Gone => {}
        }
        self.log(level, message);
    }

    fn obey(&mut self, request: Request, now: Instant) {
        match request {
            Request::Terminate | Request::Interrupt | Request::Quit => {
                self.stop_by_request(request, now)
            }
            Request::ReopenLogs => {
                self.actions.push(Action::ReopenLogs);
                let pids = self
                    .slots
                    .iter()
                    .filter_map(|slot| Some(slot.worker()?.pid));
                self.actions.extend(pids.map(|pid| Action::Send {
                    pid,
                    order: Order::ReopenLogs,
                }));
            }
            Request::Reload => self.log(
                Level::Warning,
                "reload is not available yet; restart the server instead",
            ),
            Request::Upgrade | Request::WindowChange => {
                self.log(
                    Level::Debug,
                    format!("{request:?} is not something this server does: ignored"),
                );
            }
            Request::MoreWorkers | Request::FewerWorkers
                if !matches!(self.stage, Stage::Running) =>
            {
                self.log(
                    Level::Debug,
                    "the server is stopping: the number of workers stays",
                );
            }
            Request::MoreWorkers => self.grow(now),
            Request::FewerWorkers => self.shrink(now),
        }
    }

    fn grow(&mut self, now: Instant) {
        self.wanted += 1;
        self.announces_readiness = true;
        // A worker may still be leaving its slot: then the new one waits for that, as slots are never shared.
        if self.slots.len() < self.wanted {
            self.slots.push(Slot::vacant(now));
        }
        self.log(
            Level::Info,
            format!("one worker more: {} are wanted", self.wanted),
        );
    }

    fn shrink(&mut self, now: Instant) {
        if self.wanted == 1 {
            return self.log(Level::Info, "one worker is the least: nothing changes");
        }
        self.wanted -= 1;
        let kill_at = now + self.rules.graceful_timeout;
        if let Some(worker) = self.slots.get_mut(self.wanted).and_then(Slot::worker_mut)
            && worker.sentence.is_none()
        {
            worker.sentence = Some(Sentence::NotNeeded);
            worker.kill_at = Some(kill_at);
            self.actions.push(Action::Send {
                pid: worker.pid,
                order: Order::Drain,
            });
        }
        self.log(
            Level::Info,
            format!("one worker less: {} wanted", self.wanted),
        );
    }

    fn keep_deadlines(&mut self, now: Instant) {
        self.end_silent(now);
        for slot in &mut self.slots {
            let Some(worker) = slot
                .worker_mut()
                .filter(|worker| worker.kill_at.is_some_and(|at| at <= now))
            else {
                continue;
            };
            worker.kill_at = None;
            worker.is_killed = true;
            let message = format!("{worker} has not left in time: it is killed");
            self.actions.push(Action::Log {
                level: Level::Warning,
                message,
            });
            self.actions.push(Action::Send {
                pid: worker.pid,
                order: Order::Kill,
            });
        }
        self.keep_stop_deadline(now);
        match &self.stage {
            Stage::Running => self.fill_slots(now),
            Stage::Stopping(stop)
                if self
                    .slots
                    .iter()
                    .all(|slot| matches!(slot.tenant, Tenant::Vacant { .. })) =>
            {
                let code = stop.code;
                self.exit(code);
            }
            Stage::Stopping(_) | Stage::Gone => {}
        }
    }

    fn fill_slots(&mut self, now: Instant) {
        while self.slots.len() > self.wanted
            && self
                .slots
                .last()
                .is_some_and(|slot| matches!(slot.tenant, Tenant::Vacant { .. }))
        {
            self.slots.pop();
        }
        for (number, slot) in self.slots.iter_mut().enumerate().take(self.wanted) {
            if matches!(slot.tenant, Tenant::Vacant { fork_at } if fork_at <= now) {
                slot.tenant = Tenant::Forking;
                self.actions.push(Action::Fork { slot: number });
            }
        }
    }

    fn exit(&mut self, code: i32) {
        self.stage = Stage::Gone;
        self.log(Level::Info, "stopped");
        self.actions.push(Action::Exit { code });
    }

    fn worker_mut(&mut self, pid: u32) -> Option<&mut Worker> {
        self.slots
            .iter_mut()
            .filter_map(Slot::worker_mut)
            .find(|worker| worker.pid == pid)
    }

    fn log(&mut self, level: Level, message: impl Into<String>) {
        self.actions.push(Action::Log {
            level,
            message: message.into(),
        });
    }
}

/// Counts the end of a worker in its slot; how long the slot stays empty.
fn restart_delay(slot: &mut Slot, worker: &Worker, now: Instant) -> Duration {
    let served = worker.served(now);
    if served >= HEALTHY {
        slot.back_off.reset();
    }
    if served >= SERVED {
        slot.back_off.after_service()
    } else {
        slot.back_off.after_failure()
    }
}

#[cfg(test)]
mod tests;
