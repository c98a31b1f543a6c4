//! Recycling: workers are replaced one at a time, and the new worker serves before the old one is retired.
//!
//! Invariants: at most one replacement at a time; a worker that is to be replaced serves until its successor does.

use std::time::Instant;

use lockgate_history::{EventKind, EventSubject};
use lockgate_observe::{GunicornEvent, Level};

use super::event::{ReplaceReason, Rules};
use super::operations::{OPEN_TIMEOUT, Recycling, Succession};
use super::state::Supervisor;
use super::worker::{Role, Slot, Worker};
use crate::seconds::Seconds;

impl Supervisor {
    /// Queues a worker for replacement.
    pub(super) fn queue_replacement(&mut self, pid: u32, reason: ReplaceReason) {
        let is_running = self.is_running();
        let Some(worker) = self
            .slots
            .iter_mut()
            .filter(|slot| slot.role == Role::Serving)
            .filter_map(Slot::worker_mut)
            .find(|worker| worker.pid == pid)
        else {
            return;
        };
        if !is_running || !worker.is_replaceable() || worker.is_to_be_replaced {
            return;
        }
        worker.is_to_be_replaced = true;
        let subject = EventSubject::of_worker(EventKind::WorkerRecycled, worker.slot);
        let message = format!("{worker} will be replaced: {reason}");
        self.recycling.waiting.push_back(pid);
        match reason {
            ReplaceReason::Requests(_) => {
                let detail = message.clone();
                self.log_as(GunicornEvent::Restarting { detail }, Level::Info, message);
            }
            _ => self.log(Level::Info, message),
        }
        self.set_subject(subject);
    }

    /// Compares a worker's request count and memory with its limits.
    pub(super) fn on_sampled(&mut self, pid: u32, requests: u64, memory: u64, now: Instant) {
        let Rules {
            max_requests,
            max_requests_jitter,
            ..
        } = self.rules;
        let most = max_requests.saturating_add(share_of(max_requests_jitter, pid));
        if max_requests > 0 && requests >= most {
            self.queue_replacement(pid, ReplaceReason::Requests(requests));
        }
        self.check_memory(pid, memory, now);
    }

    /// When a worker reaches its maximum age.
    pub(super) fn max_age_at(&self, worker: &Worker) -> Option<Instant> {
        if worker.is_to_be_replaced || !worker.is_replaceable() {
            return None;
        }
        Some(worker.opened? + self.rules.max_worker_age?)
    }

    /// Retires the old worker when its successor accepts. Runs before reloads, which wait for it.
    pub(super) fn continue_succession(&mut self, now: Instant) {
        if let Some(succession) = self.recycling.succession
            && let Some(by) = succession.moves_by
        {
            let successor = self.slots.get(succession.place).and_then(Slot::worker);
            if by <= now || successor.is_some_and(|worker| worker.is_accepting) {
                self.complete_succession(succession, now);
            }
        }
    }

    pub(super) fn continue_recycling(&mut self, now: Instant) {
        let old: Vec<u32> = self
            .serving()
            .filter_map(Slot::worker)
            .filter(|worker| self.max_age_at(worker).is_some_and(|at| at <= now))
            .map(|worker| worker.pid)
            .collect();
        for pid in old {
            self.queue_replacement(pid, ReplaceReason::Age);
        }
        if self.recycling.succession.is_none() {
            self.begin_succession(now);
        }
    }

    fn begin_succession(&mut self, now: Instant) {
        let is_early = self.recycling.not_before.is_some_and(|at| now < at);
        if self.reload.is_some() || self.is_reload_wanted || self.is_upgrading() || is_early {
            return;
        }
        while let Some(old) = self.recycling.waiting.pop_front() {
            let is_serving = self
                .serving()
                .filter_map(Slot::worker)
                .any(|worker| worker.pid == old && worker.is_replaceable());
            if is_serving {
                let place = self.allocate_slot(Role::Successor, now);
                self.recycling.succession = Some(Succession {
                    old,
                    place,
                    moves_by: None,
                });
                return;
            }
        }
    }

    /// The successor is ready: opens it.
    pub(super) fn open_successor(&mut self, now: Instant) {
        let Some(succession) = &mut self.recycling.succession else {
            return;
        };
        succession.moves_by = Some(now + OPEN_TIMEOUT);
        let place = succession.place;
        self.open(place, now);
    }

    fn complete_succession(&mut self, succession: Succession, now: Instant) {
        self.recycling.succession = None;
        self.recycling.back_off.reset();
        self.recycling.not_before = None;
        if let Some(slot) = self.slots.get_mut(succession.place) {
            slot.role = Role::Serving;
        }
        let old = self.slots.iter().position(|slot| {
            slot.worker()
                .is_some_and(|worker| worker.pid == succession.old)
        });
        if let Some(old) = old {
            self.retire(old, now);
        }
    }

    /// The replacement has failed: the old worker continues to serve, and another attempt follows.
    pub(super) fn fail_succession(&mut self, why: &str, now: Instant) {
        let Some(succession) = self.recycling.succession.take() else {
            return;
        };
        self.cancel(succession.place, now);
        let wait = self.recycling.back_off.after_failure();
        self.recycling.not_before = Some(now + wait);
        self.recycling.waiting.push_front(succession.old);
        self.log(
            Level::Error,
            format!(
                "cannot replace the worker with pid {}: {why}; it continues to serve, next attempt in {}",
                succession.old,
                Seconds(wait)
            ),
        );
    }

    /// Cancels the replacement, for a stop or another change with precedence.
    pub(super) fn cancel_succession(&mut self, now: Instant) {
        if let Some(succession) = self.recycling.succession.take() {
            self.cancel(succession.place, now);
            self.recycling.waiting.push_front(succession.old);
        }
    }

    /// A worker that was to be replaced is no longer wanted.
    pub(super) fn drop_successor_of(&mut self, pid: u32, now: Instant) {
        self.recycling.waiting.retain(|&waiting| waiting != pid);
        let dropped = self
            .recycling
            .succession
            .take_if(|succession| succession.old == pid);
        if let Some(succession) = dropped {
            match succession.moves_by {
                None => self.cancel(succession.place, now),
                Some(_) => self.retire(succession.place, now),
            }
        }
    }

    /// A serving worker has died. Returns whether its successor takes its place, ready or not.
    pub(super) fn promote_successor(&mut self, pid: u32) -> bool {
        self.recycling.waiting.retain(|&waiting| waiting != pid);
        let Some(succession) = self
            .recycling
            .succession
            .take_if(|succession| succession.old == pid)
        else {
            return false;
        };
        if let Some(slot) = self.slots.get_mut(succession.place) {
            slot.role = Role::Serving;
        }
        true
    }

    /// A worker exits slowly without an order to stop: it is replaced without waiting for the exit.
    pub(super) fn on_exiting(&mut self, pid: u32, now: Instant) {
        let place = self.slots.iter().position(|slot| {
            slot.role == Role::Serving
                && slot
                    .worker()
                    .is_some_and(|worker| worker.pid == pid && worker.is_replaceable())
        });
        let Some(place) = place.filter(|_| self.is_running()) else {
            return;
        };
        let follows = if self.promote_successor(pid) {
            "its replacement is starting".to_owned()
        } else {
            self.start_replacement(place, now)
        };
        if let Some(worker) = self.slots[place].worker() {
            let message = format!("{worker} exits, although no stop was requested; {follows}");
            let subject = EventSubject::of_worker(EventKind::WorkerDied, place);
            self.log_event(subject, Level::Warning, message);
        }
        self.retire(place, now);
    }

    /// Whether a successor may already accept.
    pub(super) fn is_succession_moving(&self) -> bool {
        self.recycling
            .succession
            .is_some_and(|succession| succession.moves_by.is_some())
    }

    /// Clears the queue: all workers are new.
    pub(super) fn forget_replacements(&mut self) {
        self.recycling = Recycling::default();
    }
}

/// A number up to `most` that differs from worker to worker, so that workers of the same age are not replaced together.
/// Derived from the pid, because decisions have to be reproducible.
fn share_of(most: u64, pid: u32) -> u64 {
    // The finalizer of splitmix64: adjacent numbers give unrelated results.
    let mut mixed = u64::from(pid).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) % most.saturating_add(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_spread_over_the_whole_range() {
        let shares: Vec<u64> = (1000..1200).map(|pid| share_of(9, pid)).collect();
        for share in 0..=9 {
            let times = shares.iter().filter(|&&other| other == share).count();
            assert!((8..40).contains(&times), "{share}: {times}");
        }
        assert!(shares.iter().all(|&share| share <= 9));
        assert_eq!(share_of(0, 4711), 0);
        assert!(share_of(u64::MAX, 4711) > 0);
    }
}
