//! The supervisor's state machine: decides which workers are forked, restarted, asked to leave, killed. Events and
//! `now` go in, actions come out; it uses no process, descriptor or clock.
//!
//! Invariants: a slot has at most one process, and two generations have separate slots; every wait has a deadline; no
//! failure of a worker stops a server that has once been healthy.

mod booting;
mod event;
mod fact;
mod farewell;
mod memory;
mod recycling;
mod reload;
mod silence;
mod status;
mod stopping;
mod upgrade;
mod watch;
mod worker;

use std::time::Instant;

use lockgate_observe::Level;

pub use event::{
    Action, Event, Generation, Inherited, Known, Order, ReplaceReason, Request, Responses, Rules,
};
pub use fact::Fact;
pub use status::Status;

use recycling::Recycling;
use reload::Reload;
use status::Told;
use stopping::{Delay, Stop};
use upgrade::Upgrade;
pub(crate) use worker::Seconds;
use worker::{Role, Slot, Tenant, Worker};

/// The state of the whole server.
#[derive(Debug)]
pub struct Supervisor {
    rules: Rules,
    /// The number of serving workers wanted now.
    wanted: usize,
    slots: Vec<Slot>,
    stage: Stage,
    /// A stop was requested; the server still serves for this delay.
    delay: Option<Delay>,
    told: Told,
    /// Some worker has been ready once: from then on the server only stops on request.
    has_been_healthy: bool,
    announces_readiness: bool,
    reload: Option<Reload>,
    is_reload_wanted: bool,
    recycling: Recycling,
    upgrade: Upgrade,
    /// Signals that arrived during a reload and change the number of workers.
    resizes: Vec<Request>,
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
            delay: None,
            told: Told::default(),
            has_been_healthy: false,
            announces_readiness: true,
            reload: None,
            is_reload_wanted: false,
            recycling: Recycling::default(),
            upgrade: Upgrade::None,
            resizes: Vec::new(),
            last_boot_failure: None,
            last_event: None,
            actions: Vec::new(),
        }
    }

    /// Handles an event; returns the actions, in order. `now` never goes back.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        self.forgive_own_absence(now);
        match event {
            Event::Start => self
                .slots
                .resize_with(self.wanted, || Slot::vacant(Role::Serving, now)),
            Event::Resumed(inherited) => self.resume(inherited, now),
            Event::Forked { slot, pid } => self.move_in(slot, pid, now),
            Event::ForkFailed { slot, reason } => self.try_fork_later(slot, &reason, now),
            Event::NotLoaded { slot, code, text } => self.leave_vacant(slot, code, text, now),
            Event::Ready { pid } => self.welcome(pid, now),
            Event::Serving { pid } => {
                if let Some(worker) = self.worker_mut(pid) {
                    worker.is_accepting = true;
                    worker.last_heard = now;
                }
            }
            Event::BootFailed { pid, code, text } => self.hear_failure(pid, code, text, now),
            Event::Heartbeat { pid } => {
                if let Some(worker) = self.worker_mut(pid) {
                    worker.last_heard = now;
                }
            }
            Event::Stuck { pid } => self.end_stuck(pid, now),
            Event::Exiting { pid } => self.follow_exiting(pid, now),
            Event::ReplaceWanted { pid, reason } => self.want_replacement(pid, reason),
            Event::Measured {
                pid,
                requests,
                memory,
            } => self.judge_measures(pid, requests, memory, now),
            Event::Prepared(rules) => self.boot_next(rules, now),
            Event::Counted(counts) => self.judge_watched(&counts, now),
            Event::NotPrepared { reason } => self.fail_reload(&reason, None, now),
            Event::UpgradeTried => self.note_tried(),
            Event::UpgradeFailed { reason } => self.fail_upgrade(&reason),
            Event::Exited {
                pid,
                ending,
                memory_ran_out,
                unfinished,
            } => self.bury(pid, ending, memory_ran_out, &unfinished, now),
            Event::Requested(request) => self.obey(request, now),
            Event::Tick => {}
        }
        self.keep_deadlines(now);
        self.tell_progress();
        std::mem::take(&mut self.actions)
    }

    /// When to call again with [`Event::Tick`] at the latest; `None`: only on the next event.
    pub fn next_deadline(&self) -> Option<Instant> {
        let is_running = matches!(self.stage, Stage::Running);
        let forks = self
            .slots
            .iter()
            .filter_map(|slot| self.fork_at(slot).filter(|_| is_running));
        let workers = self.slots.iter().filter_map(Slot::worker);
        let ends = workers.flat_map(|worker| [worker.kill_at, self.boot_deadline(worker)]);
        let stages = [
            match &self.stage {
                Stage::Stopping(stop) => Some(stop.deadline),
                _ => self.delay.as_ref().map(Delay::until),
            },
            self.reload.as_ref().and_then(Reload::deadline),
            self.recycling
                .deadline()
                .filter(|_| is_running && self.reload.is_none() && !self.is_upgrading()),
        ];
        let ages = self
            .serving()
            .filter_map(Slot::worker)
            .filter_map(|worker| self.grows_old_at(worker))
            .filter(|_| is_running);
        forks
            .chain(ends.flatten())
            .chain(stages.into_iter().flatten())
            .chain(ages)
            .chain(self.next_silence())
            .min()
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
            Request::Reload => self.ask_for_reload(),
            Request::Upgrade => self.ask_for_upgrade(),
            // A daemonized gunicorn retires its workers on this signal. An upgrade in place does not need it, and a
            // script written for gunicorn's two masters would take the site down.
            Request::WindowChange => self.log(
                Level::Debug,
                "SIGWINCH: nothing to do, an upgrade (SIGUSR2) replaces the workers by itself",
            ),
            Request::MoreWorkers | Request::FewerWorkers
                if !matches!(self.stage, Stage::Running) =>
            {
                self.log(
                    Level::Debug,
                    "the server is stopping: the number of workers stays",
                );
            }
            Request::MoreWorkers | Request::FewerWorkers if self.reload.is_some() => {
                self.resize_later(request)
            }
            Request::MoreWorkers => self.grow(now),
            Request::FewerWorkers => self.shrink(now),
        }
    }

    fn grow(&mut self, now: Instant) {
        self.wanted += 1;
        self.announces_readiness = true;
        self.give_slot(Role::Serving, now);
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
        let last = self.numbers(Role::Serving).last();
        if let Some(place) = last {
            let pid = self.slots[place].worker().map(|worker| worker.pid);
            self.retire(place, now);
            if let Some(pid) = pid {
                // Its successor would be one too many.
                self.drop_successor_of(pid, now);
            }
        }
        self.log(
            Level::Info,
            format!("one worker less: {} wanted", self.wanted),
        );
    }

    fn keep_deadlines(&mut self, now: Instant) {
        self.end_silent(now);
        self.end_slow_boots(now);
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
            Stage::Running => {
                self.go_on_succeeding(now);
                self.go_on_reloading(now);
                self.go_on_recycling(now);
                // Last: an upgrade waits until the steps above have nothing left to do.
                self.go_on_upgrading(now);
                self.fill_slots(now);
            }
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
        for slot in &mut self.slots {
            if slot.role == Role::Leaving && slot.is_vacant() {
                slot.role = Role::Free;
            }
        }
        while self
            .slots
            .last()
            .is_some_and(|slot| slot.role == Role::Free && slot.is_vacant())
        {
            self.slots.pop();
        }
        let due: Vec<usize> = (0..self.slots.len())
            .filter(|&place| self.fork_at(&self.slots[place]).is_some_and(|at| at <= now))
            .collect();
        for place in due {
            let generation = match self.slots[place].role {
                Role::Coming => Generation::Next,
                _ => Generation::Present,
            };
            self.slots[place].tenant = Tenant::Forking;
            self.actions.push(Action::Fork {
                slot: place,
                generation,
            });
        }
    }

    /// The slots of the wanted workers.
    fn serving(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.slots.iter().filter(|slot| slot.role == Role::Serving)
    }

    /// The numbers of the slots with this role.
    fn numbers(&self, role: Role) -> impl Iterator<Item = usize> + '_ {
        (0..self.slots.len()).filter(move |&place| self.slots[place].role == role)
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

#[cfg(test)]
mod tests;
