//! Stopping the server: graceful, quick or forced, and the escalation between them.
//!
//! Invariant: a stop ends. Every stage has a deadline at which the next harsher one begins.

use std::time::{Duration, Instant};

use lockgate_history::EventKind;
use lockgate_observe::{GunicornEvent, Level};

use super::event::{Action, Order, Request};
use super::operations::{DrainDelay, Reload, Stop, StopMode, Upgrade};
use super::state::{Stage, Supervisor};
use super::status::Status;
use super::worker::ShutdownReason;
use crate::seconds::Seconds;

/// How long a quick stop waits before it kills.
const QUICK_STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long killed workers may take to exit (the kernel may be writing a core file).
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// Equal requests within this time count as one: `timeout(1)` and shells signal the process and then its group.
const REPEAT_WINDOW: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Handles a request to stop, the first one or a further one.
    pub(super) fn stop_by_request(&mut self, request: Request, now: Instant) {
        let Stage::Stopping(stop) = &mut self.stage else {
            return self.begin_stop_by(request, now);
        };
        if stop.last_request.is_some_and(|(last, at)| {
            last == request && now.saturating_duration_since(at) < REPEAT_WINDOW
        }) {
            return;
        }
        stop.requests += 1;
        stop.last_request = Some((request, now));
        match (stop.mode, stop.requests) {
            (StopMode::Killed, _) => {}
            (_, 3..) => self.kill_remaining("third request to stop", now),
            (StopMode::Graceful, _) => self.hurry(now),
            (StopMode::Quick, _) => self.log(
                Level::Info,
                "already stopping quickly; the next request kills the remaining workers",
            ),
        }
    }

    /// The first request, or the first one during the drain delay.
    fn begin_stop_by(&mut self, request: Request, now: Instant) {
        let is_graceful = request == Request::Terminate;
        match &self.delay {
            Some(delay)
                if is_graceful
                    && now.saturating_duration_since(delay.requested) < REPEAT_WINDOW =>
            {
                return;
            }
            Some(_) => self.log(
                Level::Info,
                "second request to stop: skipping the rest of drain_delay",
            ),
            // Before the server serves, no load balancer sends requests.
            None if is_graceful && self.has_been_healthy && !self.rules.drain_delay.is_zero() => {
                return self.begin_delay(now);
            }
            None => {}
        }
        let mode = if is_graceful {
            StopMode::Graceful
        } else {
            StopMode::Quick
        };
        self.begin_stop(mode, 0, now);
        self.count_first_request(request, now);
    }

    fn count_first_request(&mut self, request: Request, now: Instant) {
        if let Stage::Stopping(stop) = &mut self.stage {
            stop.requests = 1;
            stop.last_request = Some((request, now));
        }
    }

    fn begin_delay(&mut self, now: Instant) {
        let delay = self.rules.drain_delay;
        self.is_reload_wanted = false;
        if self.reload.as_ref().is_some_and(Reload::is_undecided) {
            self.fail_reload("a stop was requested", None, now);
        }
        self.delay = Some(DrainDelay {
            until: now + delay,
            requested: now,
        });
        self.log_event(
            EventKind::Stop,
            Level::Info,
            format!(
                "stop requested: readiness checks fail from now on, and serving continues for {} (setting: drain_delay)",
                Seconds(delay)
            ),
        );
        self.report(Status::Stopping { delay, code: 0 });
    }

    /// No worker has ever been ready, and none can be: the server stops.
    pub(super) fn stop_by_boot_failure(&mut self, code: i32, now: Instant) {
        // gunicorn says so when it exits.
        self.log_as(
            GunicornEvent::InAnotherLine,
            Level::Error,
            format!("stopping: the application did not start (exit code {code})"),
        );
        self.begin_stop(StopMode::Quick, code, now);
    }

    /// Escalates a stop whose deadline has passed.
    pub(super) fn keep_stop_deadline(&mut self, now: Instant) {
        let Stage::Stopping(stop) = &self.stage else {
            if self.delay.as_ref().is_some_and(|delay| delay.until <= now) {
                self.begin_stop(StopMode::Graceful, 0, now);
                self.count_first_request(Request::Terminate, now);
            }
            return;
        };
        if now < stop.deadline {
            return;
        }
        match stop.mode {
            StopMode::Graceful => {
                let timeout = Seconds(self.rules.graceful_timeout);
                self.kill_remaining(&format!("setting: graceful_timeout = {timeout}"), now);
            }
            StopMode::Quick => {
                self.kill_remaining(&format!("quick stop: {}", Seconds(QUICK_STOP_TIMEOUT)), now)
            }
            StopMode::Killed => {
                let code = stop.code;
                let remaining = self.names();
                self.log(
                    Level::Error,
                    format!("exiting although these workers survived SIGKILL: {remaining}"),
                );
                self.exit(code);
            }
        }
    }

    fn begin_stop(&mut self, mode: StopMode, code: i32, now: Instant) {
        let (deadline, words) = match mode {
            StopMode::Graceful => {
                let longest = self.rules.graceful_timeout;
                (
                    now + longest,
                    format!(
                        "stopping: workers finish their requests, for at most {} (setting: graceful_timeout)",
                        Seconds(longest)
                    ),
                )
            }
            _ => (now + QUICK_STOP_TIMEOUT, "stopping quickly".to_owned()),
        };
        self.abandon_reload();
        self.upgrade = Upgrade::None;
        self.forget_replacements();
        self.stage = Stage::Stopping(Stop {
            code,
            mode,
            deadline,
            requests: 0,
            last_request: None,
        });
        let level = if code == 0 { Level::Info } else { Level::Debug };
        self.log_event(EventKind::Stop, level, words);
        if self.delay.take().is_none() {
            let delay = Duration::ZERO;
            self.report(Status::Stopping { delay, code });
        }
        self.actions.push(Action::CloseListeners);
        self.stop_all(if mode == StopMode::Graceful {
            Order::Drain
        } else {
            Order::Stop
        });
    }

    fn hurry(&mut self, now: Instant) {
        let Stage::Stopping(stop) = &mut self.stage else {
            return;
        };
        stop.mode = StopMode::Quick;
        stop.deadline = now + QUICK_STOP_TIMEOUT;
        self.log_as(
            GunicornEvent::QuickShutdown,
            Level::Info,
            "stopping quickly: requests in flight are aborted",
        );
        self.stop_all(Order::Stop);
    }

    fn kill_remaining(&mut self, why: &str, now: Instant) {
        let Stage::Stopping(stop) = &mut self.stage else {
            return;
        };
        stop.mode = StopMode::Killed;
        stop.deadline = now + KILL_TIMEOUT;
        let remaining = self.names();
        if remaining.is_empty() {
            return;
        }
        self.log(
            Level::Warning,
            format!("killing the remaining workers ({why}): {remaining}"),
        );
        for slot in &mut self.slots {
            if let Some(worker) = slot.worker_mut() {
                worker.is_killed = true;
                worker.kill_at = None;
                self.actions.push(Action::Send {
                    pid: worker.pid,
                    order: Order::Kill,
                });
            }
        }
    }

    fn stop_all(&mut self, order: Order) {
        for slot in &mut self.slots {
            let Some(worker) = slot.worker_mut() else {
                continue;
            };
            // A failed worker is already exiting with a report; a timed-out one keeps its own deadline.
            if worker.has_failed
                || worker.shutdown_reason == Some(ShutdownReason::TimedOut)
                || worker.is_killed
            {
                continue;
            }
            worker.shutdown_reason = Some(ShutdownReason::NotNeeded);
            // The deadline of the stop replaces that of a worker which was already stopping.
            worker.kill_at = None;
            self.actions.push(Action::Send {
                pid: worker.pid,
                order,
            });
        }
    }

    /// `worker 0 (pid 12), worker 3 (pid 15)`.
    fn names(&self) -> String {
        let workers = self.slots.iter().filter_map(|slot| slot.worker());
        workers
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    }
}
