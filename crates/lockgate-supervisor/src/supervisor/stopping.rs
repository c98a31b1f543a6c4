//! Stopping the server: graceful, quick or forced, and the escalation between them.
//!
//! Invariant: a stop ends. Every stage has a deadline at which the next harsher one begins.

use std::time::{Duration, Instant};

use lockgate_observe::Level;

use super::upgrade::Upgrade;
use super::worker::{Seconds, Sentence};
use super::{Action, Order, Request, Stage, Status, Supervisor};

/// How long a quick stop waits before it kills.
const QUICK_STOP: Duration = Duration::from_secs(3);
/// How long killed workers may take to exit (the kernel may be writing a core file).
const KILLED: Duration = Duration::from_secs(5);
/// Equal signals within this time count as one: `timeout(1)` and shells signal the process and then its group.
const ECHO: Duration = Duration::from_millis(100);

/// A stop in progress.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) code: i32,
    pub(super) pace: Pace,
    pub(super) deadline: Instant,
    /// The number of signals that have asked for it.
    wishes: u32,
    last_wish: Option<(Request, Instant)>,
}

/// The drain delay between the request to stop and the stop: the server serves as before, while load balancers learn
/// that it will stop.
#[derive(Debug)]
pub(super) struct Delay {
    until: Instant,
    asked: Instant,
}

impl Delay {
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Graceful,
    Quick,
    Killed,
}

impl Supervisor {
    /// Handles a signal that asks for a stop, for the first time or again.
    pub(super) fn stop_by_request(&mut self, request: Request, now: Instant) {
        let Stage::Stopping(stop) = &mut self.stage else {
            return self.begin_stop_by(request, now);
        };
        if stop
            .last_wish
            .is_some_and(|(last, at)| last == request && now.saturating_duration_since(at) < ECHO)
        {
            return;
        }
        stop.wishes += 1;
        stop.last_wish = Some((request, now));
        match (stop.pace, stop.wishes) {
            (Pace::Killed, _) => {}
            (_, 3..) => self.kill_the_rest("they were asked to stop three times", now),
            (Pace::Graceful, _) => self.hurry(now),
            (Pace::Quick, _) => self.log(
                Level::Info,
                "already stopping quickly; the next signal kills what is left",
            ),
        }
    }

    /// The first such signal, or the first one during the delay.
    fn begin_stop_by(&mut self, request: Request, now: Instant) {
        let is_gentle = request == Request::Terminate;
        match &self.delay {
            Some(delay) if is_gentle && now.saturating_duration_since(delay.asked) < ECHO => return,
            Some(_) => self.log(Level::Info, "asked to stop again: drain_delay ends here"),
            // Before the server serves there is nothing to delay.
            None if is_gentle && self.has_been_healthy && !self.rules.drain_delay.is_zero() => {
                return self.begin_delay(now);
            }
            None => {}
        }
        let pace = if is_gentle {
            Pace::Graceful
        } else {
            Pace::Quick
        };
        self.begin_stop(pace, 0, now);
        self.count_first_wish(request, now);
    }

    fn count_first_wish(&mut self, request: Request, now: Instant) {
        if let Stage::Stopping(stop) = &mut self.stage {
            stop.wishes = 1;
            stop.last_wish = Some((request, now));
        }
    }

    fn begin_delay(&mut self, now: Instant) {
        let delay = self.rules.drain_delay;
        self.is_reload_wanted = false;
        if self
            .reload
            .as_ref()
            .is_some_and(|reload| reload.rules().is_some())
        {
            self.fail_reload("the server is to stop", None, now);
        }
        self.delay = Some(Delay {
            until: now + delay,
            asked: now,
        });
        self.log(
            Level::Info,
            format!(
                "asked to stop: not ready from now on, and serving as before for {} (setting: drain_delay)",
                Seconds(delay)
            ),
        );
        self.tell(Status::Stopping { delay, code: 0 });
    }

    /// No worker has ever been ready and none can be: the server gives up.
    pub(super) fn stop_by_boot_failure(&mut self, code: i32, now: Instant) {
        self.log(
            Level::Error,
            format!("stopping: the application did not start (exit code {code})"),
        );
        self.begin_stop(Pace::Quick, code, now);
    }

    /// Escalates a stop whose deadline has passed.
    pub(super) fn keep_stop_deadline(&mut self, now: Instant) {
        let Stage::Stopping(stop) = &self.stage else {
            if self.delay.as_ref().is_some_and(|delay| delay.until <= now) {
                self.begin_stop(Pace::Graceful, 0, now);
                self.count_first_wish(Request::Terminate, now);
            }
            return;
        };
        if now < stop.deadline {
            return;
        }
        match stop.pace {
            Pace::Graceful => {
                let waited = self.rules.graceful_timeout;
                self.kill_the_rest(&format!("they had {} to finish", Seconds(waited)), now);
            }
            Pace::Quick => {
                self.kill_the_rest(&format!("they had {} to stop", Seconds(QUICK_STOP)), now)
            }
            Pace::Killed => {
                let code = stop.code;
                let rest = self.names();
                self.log(
                    Level::Error,
                    format!("leaving without workers that do not even die: {rest}"),
                );
                self.exit(code);
            }
        }
    }

    fn begin_stop(&mut self, pace: Pace, code: i32, now: Instant) {
        let (deadline, words) = match pace {
            Pace::Graceful => {
                let longest = self.rules.graceful_timeout;
                (
                    now + longest,
                    format!(
                        "stopping: workers finish what they have begun, for at most {}",
                        Seconds(longest)
                    ),
                )
            }
            _ => (now + QUICK_STOP, "stopping quickly".to_owned()),
        };
        self.give_up_reload();
        self.upgrade = Upgrade::None;
        self.forget_replacements();
        self.stage = Stage::Stopping(Stop {
            code,
            pace,
            deadline,
            wishes: 0,
            last_wish: None,
        });
        self.log(if code == 0 { Level::Info } else { Level::Debug }, words);
        if self.delay.take().is_none() {
            let delay = Duration::ZERO;
            self.tell(Status::Stopping { delay, code });
        }
        self.actions.push(Action::CloseListeners);
        self.dismiss_all(if pace == Pace::Graceful {
            Order::Drain
        } else {
            Order::Stop
        });
    }

    fn hurry(&mut self, now: Instant) {
        let Stage::Stopping(stop) = &mut self.stage else {
            return;
        };
        stop.pace = Pace::Quick;
        stop.deadline = now + QUICK_STOP;
        self.log(
            Level::Info,
            "stopping quickly: requests that are still running are given up",
        );
        self.dismiss_all(Order::Stop);
    }

    fn kill_the_rest(&mut self, why: &str, now: Instant) {
        let Stage::Stopping(stop) = &mut self.stage else {
            return;
        };
        stop.pace = Pace::Killed;
        stop.deadline = now + KILLED;
        let rest = self.names();
        if rest.is_empty() {
            return;
        }
        self.log(
            Level::Warning,
            format!("killing the workers that are left, {why}: {rest}"),
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

    fn dismiss_all(&mut self, order: Order) {
        for slot in &mut self.slots {
            let Some(worker) = slot.worker_mut() else {
                continue;
            };
            // Failed workers are leaving with a report; a timed-out worker keeps its own deadline.
            if worker.has_failed || worker.sentence == Some(Sentence::TimedOut) || worker.is_killed
            {
                continue;
            }
            worker.sentence = Some(Sentence::NotNeeded);
            // The stop's deadline replaces that of a worker which was already leaving.
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
