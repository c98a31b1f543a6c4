//! Liveness: when a silent worker is killed, and when silence does not count.

use std::time::{Duration, Instant};

use lockgate_observe::Level;

use super::worker::{Seconds, Sentence, Slot};
use super::{Action, Order, Stage, Supervisor};

/// From SIGABRT to SIGKILL.
const ABORT_GRACE: Duration = Duration::from_secs(1);
/// While silence counts, the supervisor checks at least this often, to notice when it was itself suspended.
const LOOK: Duration = Duration::from_secs(1);
/// A longer pause than this between two checks means that this process was stopped, frozen or starved.
const ABSENCE: Duration = Duration::from_secs(3);

impl Supervisor {
    /// When to check next, if any worker has a timeout.
    pub(super) fn next_silence(&self) -> Option<Instant> {
        self.counted_timeout().and_then(|timeout| {
            let watched = self
                .slots
                .iter()
                .filter_map(|slot| slot.worker().filter(|worker| worker.is_watched()));
            let silent_at = watched.map(|worker| worker.last_heard + timeout).min()?;
            self.last_event.map(|last| silent_at.min(last + LOOK))
        })
    }

    pub(super) fn end_stuck(&mut self, pid: u32, now: Instant) {
        let Some(timeout) = self.counted_timeout() else {
            return;
        };
        let Some(worker) = self.worker_mut(pid) else {
            return;
        };
        worker.last_heard = now;
        if worker.is_watched() {
            let message = format!(
                "{worker} has been held up for more than {}",
                Seconds(timeout)
            );
            self.shoot(pid, message, now);
        }
    }

    fn shoot(&mut self, pid: u32, why: String, now: Instant) {
        let Some(worker) = self.worker_mut(pid) else {
            return;
        };
        worker.sentence = Some(Sentence::TimedOut);
        worker.kill_at = Some(now + ABORT_GRACE);
        self.log(
            Level::Error,
            format!("{why} (setting: timeout): it is ended and replaced"),
        );
        self.actions.push(Action::Send {
            pid,
            order: Order::Abort,
        });
    }

    pub(super) fn end_silent(&mut self, now: Instant) {
        let Some(timeout) = self.counted_timeout() else {
            return;
        };
        let watched = self
            .slots
            .iter()
            .filter_map(|slot| slot.worker().filter(|worker| worker.is_watched()));
        let silent = watched.filter(|worker| worker.last_heard + timeout <= now);
        let silent: Vec<_> = silent
            .map(|worker| {
                (
                    worker.pid,
                    format!(
                        "{worker} has given no sign of life for {}",
                        Seconds(timeout)
                    ),
                )
            })
            .collect();
        for (pid, message) in silent {
            self.shoot(pid, message, now);
        }
    }

    /// Silence only counts while the supervisor runs: after it was stopped or frozen, all timeouts start again.
    pub(super) fn forgive_own_absence(&mut self, now: Instant) {
        let absence = self
            .last_event
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last_event = Some(now);
        if absence <= ABSENCE || self.counted_timeout().is_none() {
            return;
        }
        let mut was_counting = false;
        for worker in self
            .slots
            .iter_mut()
            .filter_map(Slot::worker_mut)
            .filter(|worker| worker.is_watched())
        {
            worker.last_heard = now;
            was_counting = true;
        }
        if was_counting {
            let message = format!(
                "this supervisor has itself not run for {}: timeouts start anew",
                Seconds(absence)
            );
            self.log(Level::Info, message);
        }
    }

    /// The timeout, while it is enforced: a stopping server has its own deadline.
    fn counted_timeout(&self) -> Option<Duration> {
        self.rules
            .timeout
            .filter(|_| matches!(self.stage, Stage::Running))
    }
}
