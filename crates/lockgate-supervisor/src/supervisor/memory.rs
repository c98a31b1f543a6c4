//! Memory limits: a worker over the soft limit is replaced, one over the hard limit is retired at once.
//!
//! Invariant: a worker over the hard limit accepts no more connections, whatever else is in progress.

use std::time::Instant;

use lockgate_history::{EventKind, EventSubject};
use lockgate_observe::Level;

use super::canary_counts::DURING_CANARY;
use super::event::ReplaceReason;
use super::state::Supervisor;
use super::worker::{Role, SlotState};
use crate::seconds::Seconds;

impl Supervisor {
    /// Compares a worker's memory with its limits. Zero: not measured.
    pub(super) fn check_memory(&mut self, pid: u32, held: u64, now: Instant) {
        let (soft, hard) = (
            self.rules.max_worker_memory,
            self.rules.max_worker_memory_hard,
        );
        if hard > 0 && held > hard {
            self.retire_for_memory(pid, held, hard, now);
        } else if soft > 0 && held > soft {
            self.queue_replacement(pid, ReplaceReason::Memory { held, most: soft });
        }
    }

    /// Retires a worker that uses too much memory to wait for its replacement, and starts the replacement.
    fn retire_for_memory(&mut self, pid: u32, held: u64, most: u64, now: Instant) {
        let place = self.slots.iter().position(|slot| {
            matches!(slot.role, Role::Serving | Role::Coming)
                && slot
                    .worker()
                    .is_some_and(|worker| worker.pid == pid && worker.is_replaceable())
        });
        let Some(place) = place.filter(|_| self.is_running()) else {
            return;
        };
        if self.slots[place].role == Role::Coming {
            let why = format!(
                "a new worker (pid {pid}) uses {} MiB of memory {DURING_CANARY}, more than {} MiB (setting: max_worker_memory_hard)",
                held >> 20,
                most >> 20
            );
            return self.fail_reload(&why, None, now);
        }
        let follows = if self.promote_successor(pid) {
            "its replacement is starting".to_owned()
        } else {
            self.start_replacement(place, now)
        };
        let grace = Seconds(self.rules.graceful_timeout);
        if let Some(worker) = self.slots[place].worker() {
            let message = format!(
                "{worker} uses {} MiB of memory, more than {} MiB (setting: max_worker_memory_hard): retired, with \
                 {grace} to finish its requests; {follows}",
                held >> 20,
                most >> 20
            );
            let subject = EventSubject::of_worker(EventKind::WorkerRecycled, place);
            self.log_event(subject, Level::Warning, message);
        }
        self.retire(place, now);
    }

    /// Starts a new worker in place of this one; returns its description for the log.
    pub(super) fn start_replacement(&mut self, place: usize, now: Instant) -> String {
        // A worker that exceeds the limit soon after its start counts like one that dies soon after its start.
        let slot = &mut self.slots[place];
        let SlotState::Worker(worker) = &slot.state else {
            return String::new();
        };
        let served = worker.served(now);
        let wait = slot.restart_delay(served);
        let back_off = std::mem::take(&mut slot.back_off);
        let next = self.allocate_slot(Role::Serving, now + wait);
        self.slots[next].back_off = back_off;
        if self.fork_at(&self.slots[next]).is_none() {
            "the reload in progress replaces it".to_owned()
        } else if wait.is_zero() {
            "a replacement starts now".to_owned()
        } else {
            format!("a replacement starts in {}", Seconds(wait))
        }
    }
}
