//! The state of the whole server, and the steps that several decisions share.

use std::time::Instant;

use lockgate_history::{EventKind, EventSubject};
use lockgate_observe::{GunicornEvent, Level};

use super::event::{Action, Order, Request, Rules};
use super::operations::{CANCEL_TIMEOUT, DrainDelay, Recycling, Reload, Reported, Stop, Upgrade};
use super::worker::{Role, ShutdownReason, Slot, SlotState, Worker};

/// The state machine; see the module `supervisor`.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) rules: Rules,
    /// The number of serving workers wanted now.
    pub(super) wanted: usize,
    pub(super) slots: Vec<Slot>,
    pub(super) stage: Stage,
    /// A stop was requested; the server still serves for this delay.
    pub(super) delay: Option<DrainDelay>,
    pub(super) reported: Reported,
    /// A worker has been ready once: from then on the server only stops on request.
    pub(super) has_been_healthy: bool,
    pub(super) announces_readiness: bool,
    pub(super) reload: Option<Reload>,
    pub(super) is_reload_wanted: bool,
    pub(super) recycling: Recycling,
    pub(super) upgrade: Upgrade,
    /// Requests that have arrived during a reload and change the number of workers.
    pub(super) resizes: Vec<Request>,
    /// When the log has said last why the number of workers is not changed.
    pub(super) resize_logged: Option<Instant>,
    pub(super) last_boot_failure: Option<String>,
    pub(super) last_event: Option<Instant>,
    pub(super) actions: Vec<Action>,
}

#[derive(Debug)]
pub(super) enum Stage {
    Running,
    Stopping(Stop),
    Stopped,
}

impl Supervisor {
    /// A server without workers; [`Event::Start`](super::Event::Start) creates them.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            wanted: rules.workers.max(1),
            slots: Vec::new(),
            stage: Stage::Running,
            delay: None,
            reported: Reported::default(),
            has_been_healthy: false,
            announces_readiness: true,
            reload: None,
            is_reload_wanted: false,
            recycling: Recycling::default(),
            upgrade: Upgrade::None,
            resizes: Vec::new(),
            resize_logged: None,
            last_boot_failure: None,
            last_event: None,
            actions: Vec::new(),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running)
    }

    pub(super) fn is_upgrading(&self) -> bool {
        self.upgrade != Upgrade::None
    }

    /// The slots of the wanted workers.
    pub(super) fn serving(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.slots.iter().filter(|slot| slot.role == Role::Serving)
    }

    /// The numbers of the slots with this role.
    pub(super) fn numbers(&self, role: Role) -> impl Iterator<Item = usize> + '_ {
        (0..self.slots.len()).filter(move |&place| self.slots[place].role == role)
    }

    pub(super) fn worker_mut(&mut self, pid: u32) -> Option<&mut Worker> {
        self.slots
            .iter_mut()
            .filter_map(Slot::worker_mut)
            .find(|worker| worker.pid == pid)
    }

    /// When a worker may be forked in this slot. During a reload the old generation gets a new worker only when it has
    /// none left, because the code on disk is no longer its own.
    pub(super) fn fork_at(&self, slot: &Slot) -> Option<Instant> {
        let SlotState::Vacant { fork_at } = slot.state else {
            return None;
        };
        let is_wanted = match slot.role {
            Role::Coming | Role::Successor => true,
            Role::Serving => {
                let reload = self.reload.as_ref();
                let is_next_booting = reload.and_then(Reload::rules).is_some();
                !is_next_booting || self.serving().all(|slot| slot.worker().is_none())
            }
            Role::Free | Role::Leaving => false,
        };
        is_wanted.then_some(fork_at)
    }

    /// A slot for another worker: a free one or a new one.
    pub(super) fn allocate_slot(&mut self, role: Role, now: Instant) -> usize {
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

    pub(super) fn log(&mut self, level: Level, message: impl Into<String>) {
        self.actions.push(Action::Log {
            level,
            message: message.into(),
            gunicorn: None,
            subject: None,
        });
    }

    /// Logs an event of the history.
    pub(super) fn log_event(
        &mut self,
        subject: impl Into<EventSubject>,
        level: Level,
        message: impl Into<String>,
    ) {
        self.log(level, message);
        self.set_subject(subject.into());
    }

    /// The message that was logged last is this event of the history.
    pub(super) fn set_subject(&mut self, of_last: EventSubject) {
        if let Some(Action::Log { subject, .. }) = self.actions.last_mut() {
            *subject = Some(of_last);
        }
    }

    /// Logs an event that gunicorn logs too.
    pub(super) fn log_as(
        &mut self,
        event: GunicornEvent,
        level: Level,
        message: impl Into<String>,
    ) {
        self.actions.push(Action::Log {
            level,
            message: message.into(),
            gunicorn: Some(event),
            subject: None,
        });
    }

    pub(super) fn send(&mut self, pid: u32, order: Order) {
        self.actions.push(Action::Send { pid, order });
    }

    /// Orders a worker to accept connections.
    pub(super) fn open(&mut self, place: usize, now: Instant) {
        if let Some(worker) = self.slots.get_mut(place).and_then(Slot::worker_mut) {
            worker.opened = Some(now);
            worker.last_heard = now;
            let pid = worker.pid;
            self.send(pid, Order::Open);
        }
    }

    /// Orders a worker to stop after others have taken over.
    pub(super) fn retire(&mut self, place: usize, now: Instant) {
        let kill_at = now + self.rules.graceful_timeout;
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        slot.role = Role::Leaving;
        let Some(worker) = slot.worker_mut().filter(|worker| {
            worker.shutdown_reason.is_none() && !worker.has_failed && !worker.is_killed
        }) else {
            return;
        };
        worker.shutdown_reason = Some(ShutdownReason::NotNeeded);
        worker.kill_at = Some(kill_at);
        // Before it is open a worker has no requests to finish, and exits at once.
        let order = match worker.opened {
            Some(_) => Order::Retire,
            None => Order::Drain,
        };
        let pid = worker.pid;
        self.send(pid, order);
    }

    /// Stops a worker that has never served.
    pub(super) fn cancel(&mut self, place: usize, now: Instant) {
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        slot.role = Role::Leaving;
        let Some(worker) = slot.worker_mut() else {
            return;
        };
        // A failed worker is already exiting with its report.
        if worker.has_failed || worker.shutdown_reason.is_some() {
            return;
        }
        worker.shutdown_reason = Some(ShutdownReason::NotNeeded);
        worker.kill_at = Some(now + CANCEL_TIMEOUT);
        let pid = worker.pid;
        self.send(pid, Order::Stop);
    }

    pub(super) fn exit(&mut self, code: i32) {
        self.stage = Stage::Stopped;
        self.log_as(GunicornEvent::ShutDown { code }, Level::Info, "stopped");
        self.set_subject(EventKind::Stop.into());
        self.actions.push(Action::Exit { code });
    }
}
