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

/// When other workers serve already, connections stay open this long for a next request, whose response says that it is
/// the last: a client that sends into a closing connection sees a failure. At most half of the worker's time.
const RETIREMENT_LINGER: Duration = Duration::from_secs(5);

/// See the module documentation.
pub(super) struct Drain {
    /// How long connections without a request stay open.
    pub(super) linger: Duration,
    /// If no other worker takes over: when to check whether any request is in progress, and the number of requests at
    /// the last check.
    quiet: Option<(Instant, u64)>,
}

impl EventLoop {
    /// Begins to drain as the worker was asked to, or makes a drain in progress harsher.
    pub(super) fn apply_stop(&mut self, opener: &dyn Opener) {
        let mode = self.context.inbox.stop_mode();
        let linger = match mode {
            StopMode::Serve => return,
            StopMode::Retire => RETIREMENT_LINGER.min(self.context.config.graceful_timeout / 2),
            StopMode::Drain | StopMode::Stop => DRAIN_LINGER,
        };
        let is_last = mode != StopMode::Retire;
        let present = self.drain.as_ref();
        if present.is_some_and(|drain| drain.quiet.is_some() || !is_last) {
            return;
        }
        let quiet = is_last.then_some((self.turn.now + QUIET, self.turn.served));
        if self.drain.replace(Drain { linger, quiet }).is_none() {
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
        let drain = self
            .drain
            .as_ref()
            .filter(|drain| !drain.linger.is_zero())?;
        drain.quiet.map(|(at, _)| at)
    }

    /// Closes idle connections if no request has been in progress since the last check.
    pub(super) fn check_quiet(&mut self) {
        let now = self.turn.now;
        let Some(Drain {
            linger,
            quiet: Some((at, requests)),
        }) = &mut self.drain
        else {
            return;
        };
        if *at > now || linger.is_zero() {
            return;
        }
        *at = now + QUIET;
        let is_quiet = std::mem::replace(requests, self.turn.served) == self.turn.served
            && self.slots.iter().all(|slot| is_idle(slot));
        if is_quiet {
            *linger = Duration::ZERO;
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
        match self.context.inbox.stop_mode() {
            StopMode::Serve => false,
            StopMode::Retire | StopMode::Drain => {
                let stuck =
                    (self.context.deadlines.as_ref()).map_or(0, |deadlines| deadlines.stuck());
                self.drain.is_some() && self.slots.in_use() <= stuck
            }
            StopMode::Stop => true,
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
            connection.activity() == Activity::KeepAlive && !state.pending.any()
        })
}
