//! Liveness: a worker that sends no heartbeat or is blocked is aborted. Time in which the supervisor itself was
//! suspended does not count.

use std::time::{Duration, Instant};

use lockgate_history::{EventKind, EventSubject};
use lockgate_observe::{GunicornEvent, Level};

use super::event::Order;
use super::state::Supervisor;
use super::worker::{ShutdownReason, Slot};
use crate::seconds::Seconds;

/// The time from SIGABRT to SIGKILL.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);
/// While a timeout applies, the supervisor wakes at least this often, to detect that it was itself suspended.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A longer pause than this between two checks means that this process was stopped, frozen or starved.
const SUSPENDED: Duration = Duration::from_secs(3);

impl Supervisor {
    /// When to check next, if any worker has a timeout.
    pub(super) fn liveness_deadline(&self) -> Option<Instant> {
        self.timeout().and_then(|timeout| {
            let monitored = self
                .slots
                .iter()
                .filter_map(|slot| slot.worker().filter(|worker| worker.is_monitored()));
            let silent_at = monitored.map(|worker| worker.last_heard + timeout).min()?;
            self.last_event
                .map(|last| silent_at.min(last + CHECK_INTERVAL))
        })
    }

    pub(super) fn on_stuck(&mut self, pid: u32, now: Instant) {
        let Some(timeout) = self.timeout() else {
            return;
        };
        let Some(worker) = self.worker_mut(pid) else {
            return;
        };
        worker.last_heard = now;
        if worker.is_monitored() {
            let message = format!(
                "{worker} has been blocked for more than {}",
                Seconds(timeout)
            );
            self.abort(pid, message, now);
        }
    }

    fn abort(&mut self, pid: u32, why: String, now: Instant) {
        let Some(worker) = self.worker_mut(pid) else {
            return;
        };
        worker.shutdown_reason = Some(ShutdownReason::TimedOut);
        worker.kill_at = Some(now + ABORT_TIMEOUT);
        let subject = EventSubject::of_worker(EventKind::WorkerNotAnswering, worker.slot);
        let message = format!("{why} (setting: timeout): aborting it");
        let detail = message.clone();
        self.log_as(
            GunicornEvent::Timeout { pid, detail },
            Level::Error,
            message,
        );
        self.set_subject(subject);
        self.send(pid, Order::Abort);
    }

    pub(super) fn abort_silent(&mut self, now: Instant) {
        let Some(timeout) = self.timeout() else {
            return;
        };
        let monitored = self
            .slots
            .iter()
            .filter_map(|slot| slot.worker().filter(|worker| worker.is_monitored()));
        let silent = monitored.filter(|worker| worker.last_heard + timeout <= now);
        let silent: Vec<_> = silent
            .map(|worker| {
                (
                    worker.pid,
                    format!("{worker} has sent no heartbeat for {}", Seconds(timeout)),
                )
            })
            .collect();
        for (pid, message) in silent {
            self.abort(pid, message, now);
        }
    }

    /// After the supervisor was stopped or frozen, all timeouts start again.
    pub(super) fn restart_timeouts_after_suspension(&mut self, now: Instant) {
        let pause = self
            .last_event
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last_event = Some(now);
        if pause <= SUSPENDED || self.timeout().is_none() {
            return;
        }
        let mut was_counting = false;
        for worker in self
            .slots
            .iter_mut()
            .filter_map(Slot::worker_mut)
            .filter(|worker| worker.is_monitored())
        {
            worker.last_heard = now;
            was_counting = true;
        }
        if was_counting {
            let message = format!(
                "the supervisor itself was suspended for {}: worker timeouts restart",
                Seconds(pause)
            );
            self.log(Level::Info, message);
        }
    }

    /// The timeout, while it is enforced: a stopping server has its own deadline.
    fn timeout(&self) -> Option<Duration> {
        self.rules.timeout.filter(|_| self.is_running())
    }
}
