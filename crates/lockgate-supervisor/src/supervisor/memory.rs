//! Memory limits: a worker over the soft limit is replaced, one over the hard limit is ended.
//!
//! Invariant: a worker over the hard limit accepts no more connections, whatever else is in progress.

use std::time::Instant;

use lockgate_observe::Level;

use super::booting::restart_delay;
use super::recycling::is_replaceable;
use super::watch::WATCHED;
use super::worker::{Role, Seconds, Tenant};
use super::{ReplaceReason, Stage, Supervisor};

impl Supervisor {
    /// Compares a worker's memory with its limits. Zero: not measured.
    pub(super) fn judge_memory(&mut self, pid: u32, held: u64, now: Instant) {
        let (soft, hard) = (
            self.rules.max_worker_memory,
            self.rules.max_worker_memory_hard,
        );
        if hard > 0 && held > hard {
            self.end_for_memory(pid, held, hard, now);
        } else if soft > 0 && held > soft {
            self.want_replacement(pid, ReplaceReason::Memory { held, most: soft });
        }
    }

    /// Asks a worker to leave whose memory does not allow waiting for its replacement, and starts the replacement.
    fn end_for_memory(&mut self, pid: u32, held: u64, most: u64, now: Instant) {
        let is_running = matches!(self.stage, Stage::Running);
        let place = self.slots.iter().position(|slot| {
            matches!(slot.role, Role::Serving | Role::Coming)
                && slot
                    .worker()
                    .is_some_and(|worker| worker.pid == pid && is_replaceable(worker))
        });
        let Some(place) = place.filter(|_| is_running) else {
            return;
        };
        if self.slots[place].role == Role::Coming {
            let why = format!(
                "a new worker (pid {pid}) holds {} MiB of memory {WATCHED}, and may hold {} (setting: max_worker_memory_hard)",
                held >> 20,
                most >> 20
            );
            return self.fail_reload(&why, None, now);
        }
        let follows = if self.inherit(pid) {
            "its successor is on the way".to_owned()
        } else {
            self.follow_at_once(place, now)
        };
        let grace = Seconds(self.rules.graceful_timeout);
        if let Some(worker) = self.slots[place].worker() {
            let message = format!(
                "{worker} holds {} MiB of memory and may hold {} (setting: max_worker_memory_hard): it accepts nothing \
                 more and has {grace} to finish; {follows}",
                held >> 20,
                most >> 20
            );
            self.log(Level::Warning, message);
        }
        self.retire(place, now);
    }

    /// Starts a new worker in place of this one; returns what the log says about it.
    pub(super) fn follow_at_once(&mut self, place: usize, now: Instant) -> String {
        // A worker that exceeds the limit soon after its start counts as one that dies soon.
        let slot = &mut self.slots[place];
        let Tenant::Worker(worker) = &slot.tenant else {
            return String::new();
        };
        let wait = restart_delay(&mut slot.back_off, worker.served(now));
        let back_off = std::mem::take(&mut slot.back_off);
        let next = self.give_slot(Role::Serving, now + wait);
        self.slots[next].back_off = back_off;
        if self.fork_at(&self.slots[next]).is_none() {
            "the reload that goes on replaces it".to_owned()
        } else if wait.is_zero() {
            "another one is made at once".to_owned()
        } else {
            format!("another one is made in {}", Seconds(wait))
        }
    }
}
