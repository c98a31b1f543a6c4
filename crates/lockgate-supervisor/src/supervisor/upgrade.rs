//! Upgrades: another version of the server takes over this process and its workers, and then reloads.
//!
//! Invariant: the program is replaced only while no other change is in progress, so that the handover is simple.

use std::time::Instant;

use lockgate_history::EventKind;
use lockgate_observe::Level;

use super::event::{Action, WorkerHandover, WorkerSnapshot};
use super::operations::Upgrade;
use super::state::Supervisor;
use super::worker::{Role, ShutdownReason, Slot, SlotState, Worker};

impl Supervisor {
    pub(super) fn request_upgrade(&mut self) {
        if !self.is_running() || self.delay.is_some() {
            return self.log(Level::Debug, "upgrade ignored: the server is stopping");
        }
        if self.is_upgrading() {
            return self.log(
                Level::Info,
                "upgrade ignored: an upgrade is already in progress",
            );
        }
        self.upgrade = Upgrade::Wanted;
        if !self.is_settled() {
            self.log(
                Level::Info,
                "upgrade deferred until no worker is starting or stopping",
            );
        }
    }

    /// Takes the steps that wait for other changes to finish.
    pub(super) fn continue_upgrade(&mut self, now: Instant) {
        if !self.is_settled() {
            return;
        }
        match self.upgrade {
            Upgrade::Wanted => {
                self.upgrade = Upgrade::Trying;
                let message = "upgrade: trying the program on disk";
                self.log_event(EventKind::Upgrade, Level::Info, message);
                self.actions.push(Action::TryUpgrade);
            }
            Upgrade::Tried => {
                let snapshot = |slot: &Slot| {
                    let worker = slot.worker()?;
                    Some(WorkerSnapshot {
                        slot: worker.slot,
                        pid: worker.pid,
                        served: worker.served(now),
                        is_leaving: slot.role == Role::Leaving,
                    })
                };
                self.actions.push(Action::Upgrade(WorkerHandover {
                    wanted: self.wanted,
                    setting: self.rules.workers,
                    workers: self.slots.iter().filter_map(snapshot).collect(),
                }));
            }
            Upgrade::None | Upgrade::Trying => {}
        }
    }

    pub(super) fn on_upgrade_failed(&mut self, why: &str) {
        if !self.is_upgrading() {
            return;
        }
        self.upgrade = Upgrade::None;
        self.log_event(
            EventKind::Upgrade,
            Level::Error,
            format!("upgrade failed: {why}; the running version continues"),
        );
    }

    /// Whether every wanted worker serves or waits for its restart, and no replacement is in progress.
    fn is_settled(&self) -> bool {
        let is_slot_settled = |slot: &Slot| match (&slot.state, slot.role) {
            (SlotState::Forking, _) => false,
            (_, Role::Coming | Role::Successor) => false,
            (SlotState::Worker(worker), Role::Serving) => {
                worker.is_accepting && worker.shutdown_reason.is_none() && !worker.is_killed
            }
            _ => true,
        };
        self.reload.is_none()
            && self.delay.is_none()
            && self.has_been_healthy
            && self.slots.iter().all(is_slot_settled)
    }

    /// Takes over from the previous program in this process: its workers serve, and new ones are to replace them.
    pub(super) fn resume(&mut self, handover: WorkerHandover, now: Instant) {
        self.wanted = handover.wanted.max(1);
        self.rules.workers = handover.setting;
        self.has_been_healthy = true;
        self.announces_readiness = false;
        // The previous program has reported it.
        self.reported.is_ready = true;
        let kill_at = now + self.rules.graceful_timeout;
        for snapshot in handover.workers {
            let WorkerSnapshot {
                slot: place,
                pid,
                served,
                is_leaving,
            } = snapshot;
            while self.slots.len() <= place {
                self.slots.push(Slot::vacant(Role::Free, now));
            }
            let opened = now.checked_sub(served).unwrap_or(now);
            let mut worker = Worker::new(place, pid, opened);
            worker.last_heard = now;
            worker.ready = Some(opened);
            worker.opened = Some(opened);
            worker.is_accepting = true;
            if is_leaving {
                worker.shutdown_reason = Some(ShutdownReason::NotNeeded);
                worker.kill_at = Some(kill_at);
            }
            self.slots[place].role = match is_leaving {
                true => Role::Leaving,
                false => Role::Serving,
            };
            self.slots[place].state = SlotState::Worker(worker);
        }
        let serving = self.serving().count();
        for _ in serving..self.wanted {
            self.allocate_slot(Role::Serving, now);
        }
        self.log_event(
            EventKind::Upgrade,
            Level::Info,
            match serving {
                1 => "upgrade: the worker of the previous version serves until a new one is ready"
                    .to_owned(),
                _ => format!(
                    "upgrade: {serving} workers of the previous version serve until new ones are ready"
                ),
            },
        );
        self.request_reload();
    }
}
