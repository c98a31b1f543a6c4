//! Queue expiry: when waiting requests are checked for closed clients and for their time limit.

use std::time::{Duration, Instant};

use lockgate_observe::Level;

use super::context::Context;
use crate::connection::turn::Turn;
use crate::log::throttle::{LogThrottle, and_suppressed};

/// A sweep takes about 0.1 ms for a thousand requests: this interval limits it to 1 % of the event loop's time while
/// clients keep leaving.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(10);

/// A request that waits for a thread this long causes a warning.
const SATURATED_AFTER: Duration = Duration::from_secs(1);

/// When the waiting requests have to be checked, because a client left.
pub(super) struct QueueExpiry {
    sweep_at: Option<Instant>,
    swept_at: Instant,
    saturated: LogThrottle,
    /// Where no route sets a limit.
    longest_wait: Option<Duration>,
}

impl QueueExpiry {
    pub(super) fn new(now: Instant, longest_wait: Option<Duration>) -> Self {
        Self {
            sweep_at: None,
            swept_at: now,
            saturated: LogThrottle::default(),
            longest_wait,
        }
    }

    /// The client of a waiting or running request has closed its side.
    pub(super) fn on_client_close(&mut self, now: Instant) {
        let at = now.max(self.swept_at + BETWEEN_SWEEPS);
        self.sweep_at = Some(self.sweep_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// When a waiting request has to be dropped, or checked for that.
    #[inline]
    pub(super) fn next(&self, turn: &Turn, context: &Context) -> Option<Instant> {
        if turn.queued() == 0 {
            return None;
        }
        self.next_of_waiting(turn, context)
    }

    fn next_of_waiting(&self, turn: &Turn, context: &Context) -> Option<Instant> {
        let expires = match context.route_limits() {
            None => self
                .longest_wait
                .and_then(|limit| turn.oldest().map(|at| at + limit)),
            // The oldest may belong to a route where it may wait for longer.
            Some(routes) => (routes.shortest_wait())
                .and_then(|limit| turn.oldest().map(|at| at + limit))
                .map(|at| at.max(self.swept_at + BETWEEN_SWEEPS)),
        };
        match (expires, self.sweep_at) {
            (Some(expires), Some(sweep)) => Some(expires.min(sweep)),
            (expires, sweep) => expires.or(sweep),
        }
    }

    /// Answers or drops waiting requests whose time is over or whose clients have gone. Returns whether there were any.
    pub(super) fn drop_requests(&mut self, turn: &mut Turn, context: &Context) -> bool {
        if self.next(turn, context).is_none_or(|at| at > turn.now) {
            return false;
        }
        let (again, has_any) = turn.drop_expired(context.longest_wait());
        self.swept_at = turn.now;
        self.sweep_at = again;
        has_any
    }

    /// Logs that all threads are busy once a request has waited for [`SATURATED_AFTER`]. Returns when to check again.
    pub(super) fn report_saturation(&mut self, turn: &Turn, context: &Context) -> Option<Instant> {
        let pool = &context.pool;
        let oldest = pool.oldest_in_backlog()?;
        let due = oldest + SATURATED_AFTER;
        if turn.now < due {
            return Some(due);
        }
        let threads = pool.max_calls();
        if pool.saturation().running() < threads {
            return None;
        }
        let suppressed = self.saturated.record(turn.now)?;
        let message = format!(
            "all {threads} threads of this worker are in calls; {} requests are waiting, the oldest for {:.1} s \
             (setting: threads = {}){}",
            turn.queued(),
            turn.now.saturating_duration_since(oldest).as_secs_f64(),
            context.config.threads,
            and_suppressed(suppressed),
        );
        context
            .error_log
            .write_unless_blocked(Level::Warning, &message);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_after_client_closes_are_rate_limited() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut waiting = QueueExpiry::new(start, None);
        waiting.on_client_close(at(3));
        assert_eq!(waiting.sweep_at, Some(at(10)));
        waiting.on_client_close(at(9));
        assert_eq!(waiting.sweep_at, Some(at(10)));
        waiting.sweep_at = None;
        waiting.on_client_close(at(50));
        assert_eq!(waiting.sweep_at, Some(at(50)));
    }
}
