//! The supervisor's state machine: decides which workers are forked, replaced, stopped or killed. Events and `now` go in,
//! actions come out; it uses no process, descriptor or clock.
//!
//! Invariants: a slot has at most one process, and two generations have separate slots; every wait has a deadline; no
//! failure of a worker stops a server that has once been healthy.

mod boot;
mod canary;
mod canary_counts;
mod event;
mod exit_report;
mod liveness;
mod memory;
mod operations;
mod progress_event;
mod recycling;
mod reload;
mod reporting;
mod state;
mod status;
mod stopping;
mod upgrade;
mod worker;

use std::time::{Duration, Instant};

use lockgate_history::EventKind;
use lockgate_observe::{GunicornEvent, Level};

pub use event::{
    Action, BAD_FORK, Event, Generation, Order, ReplaceReason, Request, Responses, Rules,
    WorkerHandover, WorkerSnapshot,
};
pub use progress_event::ProgressEvent;
pub use state::Supervisor;
pub use status::Status;

use operations::{Reload, Upgrade};
use state::Stage;
use worker::{Role, Slot, SlotState};

/// `lockgate ctl workers -5` is five requests, which come together.
const SAME_COMMAND: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Handles an event; returns the actions, in order. `now` never goes back.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        self.restart_timeouts_after_suspension(now);
        match event {
            Event::Start => self
                .slots
                .resize_with(self.wanted, || Slot::vacant(Role::Serving, now)),
            Event::Resumed(inherited) => self.resume(inherited, now),
            Event::Forked { slot, pid } => self.on_forked(slot, pid, now),
            Event::ForkFailed { slot, reason } => self.on_fork_failed(slot, &reason, now),
            Event::LoadFailed { slot, code, text } => self.on_load_failed(slot, code, text, now),
            Event::Ready { pid } => self.on_ready(pid, now),
            Event::Serving { pid } => {
                if let Some(worker) = self.worker_mut(pid) {
                    worker.is_accepting = true;
                    worker.last_heard = now;
                }
            }
            Event::BootFailed { pid, code, text } => self.on_boot_failed(pid, code, text, now),
            Event::Heartbeat { pid } => {
                if let Some(worker) = self.worker_mut(pid) {
                    worker.last_heard = now;
                }
            }
            Event::Stuck { pid } => self.on_stuck(pid, now),
            Event::Exiting { pid } => self.on_exiting(pid, now),
            Event::ReplaceWanted { pid, reason } => self.queue_replacement(pid, reason),
            Event::Sampled {
                pid,
                requests,
                memory,
            } => self.on_sampled(pid, requests, memory, now),
            Event::Prepared(rules) => self.on_prepared(rules, now),
            Event::Counted(counts) => self.on_counted(&counts, now),
            Event::PrepareFailed { reason, report } => {
                self.on_prepare_failed(&reason, report.as_deref(), now)
            }
            Event::UpgradeTried => {
                if self.upgrade == Upgrade::Trying {
                    self.upgrade = Upgrade::Tried;
                }
            }
            Event::UpgradeFailed { reason } => self.on_upgrade_failed(&reason),
            Event::Exited {
                pid,
                exit_status,
                memory_ran_out,
                in_flight,
            } => self.on_exited(pid, exit_status, memory_ran_out, &in_flight, now),
            Event::Requested(request) => {
                let name = request.signal();
                let signal = GunicornEvent::Signal { name };
                self.actions.push(Action::LogForGunicorn(signal));
                self.on_request(request, now);
            }
            Event::Tick => {}
        }
        self.keep_deadlines(now);
        self.report_progress();
        std::mem::take(&mut self.actions)
    }

    /// When to call again with [`Event::Tick`] at the latest; `None`: only on the next event.
    pub fn next_deadline(&self) -> Option<Instant> {
        let is_running = self.is_running();
        let forks = self
            .slots
            .iter()
            .filter_map(|slot| self.fork_at(slot).filter(|_| is_running));
        let workers = self.slots.iter().filter_map(Slot::worker);
        let ends = workers.flat_map(|worker| {
            [
                worker.kill_at,
                self.boot_deadline(worker),
                self.slow_at(worker),
            ]
        });
        let stages = [
            match &self.stage {
                Stage::Stopping(stop) => Some(stop.deadline),
                _ => self.delay.as_ref().map(|delay| delay.until),
            },
            self.reload.as_ref().and_then(Reload::deadline),
            self.recycling
                .deadline()
                .filter(|_| is_running && self.reload.is_none() && !self.is_upgrading()),
        ];
        let ages = self
            .serving()
            .filter_map(Slot::worker)
            .filter_map(|worker| self.max_age_at(worker))
            .filter(|_| is_running);
        forks
            .chain(ends.flatten())
            .chain(stages.into_iter().flatten())
            .chain(ages)
            .chain(self.liveness_deadline())
            .min()
    }

    fn on_request(&mut self, request: Request, now: Instant) {
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
            Request::Reload => {
                let hang_up = GunicornEvent::HangUp;
                self.actions.push(Action::LogForGunicorn(hang_up));
                self.request_reload();
            }
            Request::Upgrade => self.request_upgrade(),
            // A daemonized gunicorn retires its workers on this signal. An upgrade in place does not need that, and a
            // script written for gunicorn's two masters would stop the service.
            Request::WindowChange => self.log(
                Level::Debug,
                "SIGWINCH ignored: an upgrade (SIGUSR2) replaces the workers by itself",
            ),
            Request::MoreWorkers | Request::FewerWorkers if !self.is_running() => {
                self.log(
                    Level::Debug,
                    "number of workers unchanged: the server is stopping",
                );
            }
            Request::MoreWorkers | Request::FewerWorkers if self.reload.is_some() => {
                self.resize_later(request, now)
            }
            Request::MoreWorkers => self.grow(now),
            Request::FewerWorkers => self.shrink(now),
        }
    }

    fn grow(&mut self, now: Instant) {
        self.wanted += 1;
        self.announce_resize(self.wanted - 1);
        self.announces_readiness = true;
        self.allocate_slot(Role::Serving, now);
        self.log_event(
            EventKind::Resized,
            Level::Info,
            format!("number of workers increased to {}", self.wanted),
        );
    }

    fn shrink(&mut self, now: Instant) {
        if self.wanted == 1 {
            return self.log_resize("number of workers unchanged: 1 is the minimum", now);
        }
        self.wanted -= 1;
        self.announce_resize(self.wanted + 1);
        if let Some(place) = self.place_to_remove() {
            let pid = self.slots[place].worker().map(|worker| worker.pid);
            self.retire(place, now);
            if let Some(pid) = pid {
                // Its successor would be one too many.
                self.drop_successor_of(pid, now);
            }
        }
        self.log_event(
            EventKind::Resized,
            Level::Info,
            format!("number of workers decreased to {}", self.wanted),
        );
    }

    /// Logs why the number of workers is not changed now, once for the requests of one command.
    fn log_resize(&mut self, message: &str, now: Instant) {
        let is_repeated = (self.resize_logged)
            .is_some_and(|before| now.saturating_duration_since(before) < SAME_COMMAND);
        if !is_repeated {
            self.resize_logged = Some(now);
            self.log(Level::Info, message);
        }
    }

    /// The slot that a smaller number of workers leaves out: the last one whose worker is not ready, or else that of the
    /// oldest worker. As in gunicorn, TTIN and then TTOU replace a worker.
    fn place_to_remove(&self) -> Option<usize> {
        let ready = |place: &usize| self.slots[*place].worker().and_then(|worker| worker.ready);
        let not_ready = self
            .numbers(Role::Serving)
            .filter(|place| ready(place).is_none());
        not_ready
            .last()
            .or_else(|| self.numbers(Role::Serving).min_by_key(ready))
    }

    fn announce_resize(&mut self, old: usize) {
        let new = self.wanted;
        self.actions.push(Action::AnnounceResize { new, old });
    }

    fn keep_deadlines(&mut self, now: Instant) {
        self.abort_silent(now);
        self.stop_slow_boots(now);
        self.report_slow_boots(now);
        for slot in &mut self.slots {
            let Some(worker) = slot
                .worker_mut()
                .filter(|worker| worker.kill_at.is_some_and(|at| at <= now))
            else {
                continue;
            };
            worker.kill_at = None;
            worker.is_killed = true;
            let message = format!("{worker} has not stopped in time: killing it");
            self.actions.push(Action::Log {
                level: Level::Warning,
                message,
                gunicorn: None,
                subject: None,
            });
            self.actions.push(Action::Send {
                pid: worker.pid,
                order: Order::Kill,
            });
        }
        self.keep_stop_deadline(now);
        match &self.stage {
            Stage::Running => {
                self.continue_succession(now);
                self.continue_reload(now);
                self.continue_recycling(now);
                // Last: an upgrade waits until the steps above have nothing left to do.
                self.continue_upgrade(now);
                self.fill_slots(now);
            }
            Stage::Stopping(stop)
                if self
                    .slots
                    .iter()
                    .all(|slot| matches!(slot.state, SlotState::Vacant { .. })) =>
            {
                let code = stop.code;
                self.exit(code);
            }
            Stage::Stopping(_) | Stage::Stopped => {}
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
            self.slots[place].state = SlotState::Forking;
            self.actions.push(Action::Fork {
                slot: place,
                generation,
            });
        }
    }
}

#[cfg(test)]
mod tests;
