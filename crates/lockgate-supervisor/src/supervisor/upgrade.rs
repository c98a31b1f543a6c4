//! Upgrades: another version of the server takes over this process and its serving workers, and then reloads.
//!
//! Invariant: the program is replaced only while no other change is in progress, so that the handover is simple.

use std::time::Instant;

use lockgate_observe::Level;

use super::worker::{Role, Sentence, Slot, Tenant, Worker};
use super::{Action, Inherited, Known, Stage, Supervisor};

/// The stage of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Upgrade {
    #[default]
    None,
    /// It begins when no other change is in progress.
    Wanted,
    /// The other version is on trial.
    Trying,
    /// The trial has succeeded; the exec waits until no other change is in progress.
    Tried,
}

impl Supervisor {
    pub(super) fn is_upgrading(&self) -> bool {
        self.upgrade != Upgrade::None
    }

    pub(super) fn ask_for_upgrade(&mut self) {
        if !matches!(self.stage, Stage::Running) || self.delay.is_some() {
            return self.log(Level::Debug, "the server is stopping: no upgrade");
        }
        if self.is_upgrading() {
            return self.log(Level::Info, "an upgrade is under way already");
        }
        self.upgrade = Upgrade::Wanted;
        if !self.is_quiet() {
            self.log(
                Level::Info,
                "the upgrade begins when workers neither come nor go",
            );
        }
    }

    /// Takes the steps that wait for other changes to finish.
    pub(super) fn go_on_upgrading(&mut self, now: Instant) {
        if !self.is_quiet() {
            return;
        }
        match self.upgrade {
            Upgrade::Wanted => {
                self.upgrade = Upgrade::Trying;
                self.log(Level::Info, "upgrade: the program on disk is tried");
                self.actions.push(Action::TryUpgrade);
            }
            Upgrade::Tried => {
                let known = |slot: &Slot| {
                    let worker = slot.worker()?;
                    Some(Known {
                        slot: worker.slot,
                        pid: worker.pid,
                        served: worker.served(now),
                        is_leaving: slot.role == Role::Leaving,
                    })
                };
                self.actions.push(Action::Upgrade {
                    wanted: self.wanted,
                    workers: self.rules.workers,
                    children: self.slots.iter().filter_map(known).collect(),
                });
            }
            Upgrade::None | Upgrade::Trying => {}
        }
    }

    /// The trial has succeeded.
    pub(super) fn note_tried(&mut self) {
        if self.upgrade == Upgrade::Trying {
            self.upgrade = Upgrade::Tried;
        }
    }

    pub(super) fn fail_upgrade(&mut self, why: &str) {
        if !self.is_upgrading() {
            return;
        }
        self.upgrade = Upgrade::None;
        self.log(
            Level::Error,
            format!("upgrade failed: {why}; the server goes on unchanged"),
        );
    }

    /// Whether every wanted worker serves or waits for its restart, and no replacement is in progress.
    fn is_quiet(&self) -> bool {
        let is_calm = |slot: &Slot| match (&slot.tenant, slot.role) {
            (Tenant::Forking, _) => false,
            (_, Role::Coming | Role::Successor) => false,
            (Tenant::Worker(worker), Role::Serving) => {
                worker.is_accepting && worker.sentence.is_none() && !worker.is_killed
            }
            _ => true,
        };
        self.reload.is_none()
            && self.delay.is_none()
            && self.has_been_healthy
            && self.slots.iter().all(is_calm)
    }

    /// Takes over from the previous program in this process: its workers serve, and new ones are to replace them.
    pub(super) fn resume(&mut self, inherited: Inherited, now: Instant) {
        let Inherited {
            wanted,
            workers,
            children,
        } = inherited;
        self.wanted = wanted.max(1);
        self.rules.workers = workers;
        self.has_been_healthy = true;
        self.announces_readiness = false;
        self.note_ready_before();
        let kill_at = now + self.rules.graceful_timeout;
        for known in children {
            let Known {
                slot: place,
                pid,
                served,
                is_leaving,
            } = known;
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
                worker.sentence = Some(Sentence::NotNeeded);
                worker.kill_at = Some(kill_at);
            }
            self.slots[place].role = match is_leaving {
                true => Role::Leaving,
                false => Role::Serving,
            };
            self.slots[place].tenant = Tenant::Worker(worker);
        }
        let serving = self.serving().count();
        for _ in serving..self.wanted {
            self.give_slot(Role::Serving, now);
        }
        self.log(
            Level::Info,
            match serving {
                1 => "upgrade: the worker of the version before goes on until a new one serves"
                    .to_owned(),
                _ => format!(
                    "upgrade: {serving} workers of the version before go on until new ones serve"
                ),
            },
        );
        self.ask_for_reload();
    }
}
