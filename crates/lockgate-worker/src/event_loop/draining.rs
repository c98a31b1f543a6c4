//! Draining: how a worker that was asked to stop closes its connections. Nothing new is accepted, and connections
//! between two requests stay open for a while, because the next request may be on its way.

use std::time::{Duration, Instant};

use super::{EventLoop, Opener};
use crate::connection::Activity;
use crate::connection::inbox::StopMode;
use crate::connection::slot::Slot;

/// When the server stops, connections without a request stay open this long at most…
const DRAIN_LINGER: Duration = Duration::from_secs(1);

/// …and those that have been used before only until no request was in progress, on any connection, for this long. An
/// active client sends its next request within a round trip; waiting for an idle client gains nothing.
const QUIET: Duration = Duration::from_millis(50);

/// Without a supervisor no proxy or load balancer is in front of the worker, and the program waits for its end.
const EMBEDDED_LINGER: Duration = QUIET;

/// When other workers serve already, connections stay open this long for a next request, whose response says that it is
/// the last: a client that sends into a closing connection sees a failure. At most half of the worker's time.
const RETIREMENT_LINGER: Duration = Duration::from_secs(5);

/// See the module documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drain {
    /// How long connections without a request stay open.
    pub(super) linger: Duration,
    /// If no other worker takes over: when to check whether any request is in progress, and the number of requests at
    /// the last check.
    quiet: Option<(Instant, u64)>,
}

impl Drain {
    /// The drain that begins now in this mode; `None`: the worker serves, or `present` continues.
    fn begin(
        present: Option<&Self>,
        mode: StopMode,
        owns_process: bool,
        graceful_timeout: Duration,
        served: u64,
        now: Instant,
    ) -> Option<Self> {
        let linger = match mode {
            StopMode::Serve => return None,
            StopMode::Retire => RETIREMENT_LINGER.min(graceful_timeout / 2),
            StopMode::Drain | StopMode::Stop if owns_process => DRAIN_LINGER,
            StopMode::Drain | StopMode::Stop => EMBEDDED_LINGER,
        };
        let is_last = mode != StopMode::Retire;
        if present.is_some_and(|present| present.quiet.is_some() || !is_last) {
            return None;
        }
        let quiet = is_last.then_some((now + QUIET, served));
        Some(Self { linger, quiet })
    }

    /// When to check whether any request is in progress.
    fn next_check(&self) -> Option<Instant> {
        let is_over = self.linger.is_zero();
        self.quiet.map(|(at, _)| at).filter(|_| !is_over)
    }

    /// If a check is due: whether no request has been in progress since the last one, so that idle connections close
    /// now. `are_idle` is the state of the connections.
    fn check(&mut self, served: u64, are_idle: impl FnOnce() -> bool, now: Instant) -> bool {
        if self.next_check().is_none_or(|at| at > now) {
            return false;
        }
        let before = self.quiet.replace((now + QUIET, served));
        let is_quiet = before.is_some_and(|(_, requests)| requests == served) && are_idle();
        if is_quiet {
            self.linger = Duration::ZERO;
        }
        is_quiet
    }
}

/// Whether a worker has finished: `connections` are open, of which `stuck` wait for a call that does not end.
fn is_over(mode: StopMode, is_draining: bool, connections: usize, stuck: usize) -> bool {
    match mode {
        StopMode::Serve => false,
        StopMode::Retire | StopMode::Drain => is_draining && connections <= stuck,
        StopMode::Stop => true,
    }
}

impl EventLoop {
    /// Begins to drain as the worker was asked to, or makes a drain in progress harsher.
    pub(super) fn apply_stop(&mut self, opener: &dyn Opener) {
        let Some(drain) = Drain::begin(
            self.drain.as_ref(),
            self.context.inbox.stop_mode(),
            self.context.lifecycle.owns_process,
            self.context.config.graceful_timeout,
            self.turn.served,
            self.turn.now,
        ) else {
            return;
        };
        let linger = drain.linger;
        if self.drain.replace(drain).is_none() {
            let mut arrivals = Vec::new();
            self.accepting.acceptor.close(&self.poller, &mut arrivals);
            for arrival in arrivals {
                self.admit(opener, arrival);
            }
        }
        self.shorten_waiting(linger);
    }

    /// When to check whether any request is in progress.
    pub(super) fn next_quiet_check(&self) -> Option<Instant> {
        self.drain.as_ref()?.next_check()
    }

    /// Closes idle connections if no request has been in progress since the last check.
    pub(super) fn check_quiet(&mut self) {
        let (served, now) = (self.turn.served, self.turn.now);
        let are_idle = || self.slots.iter().all(|slot| is_idle(slot));
        let drain = self.drain.as_mut();
        if drain.is_some_and(|drain| drain.check(served, are_idle, now)) {
            self.shorten_waiting(Duration::ZERO);
        }
    }

    fn shorten_waiting(&mut self, linger: Duration) {
        let by = self.turn.now + linger;
        for token in self.slots.tokens() {
            if let Some(mut connection) = self.slots.take(token) {
                connection.shorten_waiting(by);
                self.put_back(connection);
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        let stuck = || (self.context.deadlines.as_ref()).map_or(0, |deadlines| deadlines.stuck());
        match self.context.inbox.stop_mode() {
            StopMode::Serve => false,
            mode => is_over(mode, self.drain.is_some(), self.slots.in_use(), stuck()),
        }
    }

    /// The worker has finished, but its process may take some time to exit: no client is to wait here for an answer.
    pub fn close_all(&mut self) {
        let mut arrivals = Vec::new();
        self.accepting.acceptor.close(&self.poller, &mut arrivals);
        for token in self.slots.tokens() {
            if let Some(connection) = self.slots.take(token) {
                drop(connection);
                self.release(token);
            }
        }
    }
}

/// Whether the connection has had a request and nothing of the next one has arrived. A connection that is lent or held
/// runs a request.
fn is_idle(slot: &Slot) -> bool {
    let state = slot.lock();
    let connection = state.connection.as_ref();
    !slot.hold().is_held()
        && connection.is_some_and(|connection| {
            matches!(
                connection.activity(),
                Activity::KeepAlive | Activity::Subscribed
            ) && !state.pending.any()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACEFUL: Duration = Duration::from_secs(30);

    #[test]
    fn a_drain_begins_once_and_only_becomes_harsher() {
        let now = Instant::now();
        let begin =
            |present: Option<&Drain>, mode| Drain::begin(present, mode, true, GRACEFUL, 7, now);
        assert_eq!(begin(None, StopMode::Serve), None);
        let retirement = begin(None, StopMode::Retire).unwrap();
        assert_eq!(retirement.linger, RETIREMENT_LINGER);
        assert_eq!(retirement.next_check(), None);
        let drain = begin(None, StopMode::Drain).unwrap();
        assert_eq!(drain.linger, DRAIN_LINGER);
        assert_eq!(drain.next_check(), Some(now + QUIET));
        let embedded = Drain::begin(None, StopMode::Drain, false, GRACEFUL, 7, now).unwrap();
        assert_eq!(embedded.linger, EMBEDDED_LINGER);
        for (present, mode, begins) in [
            (retirement, StopMode::Retire, false),
            (retirement, StopMode::Drain, true),
            (retirement, StopMode::Stop, true),
            (drain, StopMode::Retire, false),
            (drain, StopMode::Drain, false),
            (drain, StopMode::Stop, false),
        ] {
            let next = begin(Some(&present), mode);
            assert_eq!(next.is_some(), begins, "{present:?} {mode:?}");
        }
    }

    #[test]
    fn a_retirement_takes_at_most_half_of_graceful_timeout() {
        let now = Instant::now();
        for (graceful, linger) in [(2, 1), (10, 5), (600, 5)] {
            let graceful = Duration::from_secs(graceful);
            let drain = Drain::begin(None, StopMode::Retire, true, graceful, 0, now).unwrap();
            assert_eq!(drain.linger, Duration::from_secs(linger), "{graceful:?}");
        }
    }

    #[test]
    fn idle_connections_close_after_a_period_without_requests() {
        let now = Instant::now();
        let mut drain = Drain::begin(None, StopMode::Drain, true, GRACEFUL, 7, now).unwrap();
        let later = |periods: u32| now + QUIET * periods;
        assert!(!drain.check(7, || panic!("not due"), now));
        assert!(!drain.check(8, || true, later(1)), "a request has come");
        assert!(!drain.check(8, || false, later(2)), "a request is running");
        assert!(drain.check(8, || true, later(3)));
        assert_eq!(drain.next_check(), None);
        assert!(!drain.check(8, || panic!("not due"), later(9)));
    }

    #[test]
    fn a_draining_worker_waits_for_all_connections_but_the_stuck_ones() {
        for (mode, is_draining, connections, stuck, expected) in [
            (StopMode::Serve, false, 0, 0, false),
            (StopMode::Retire, false, 0, 0, false),
            (StopMode::Retire, true, 0, 0, true),
            (StopMode::Drain, true, 1, 0, false),
            (StopMode::Drain, true, 1, 1, true),
            (StopMode::Drain, true, 3, 2, false),
            (StopMode::Stop, false, 9, 0, true),
        ] {
            let found = is_over(mode, is_draining, connections, stuck);
            assert_eq!(found, expected, "{mode:?} {connections} {stuck}");
        }
    }
}
