//! Queue expiry: when the waiting requests are swept, and how many there may be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::ResponseHead;
use lockgate_observe::Level;

use super::EventLoop;
use crate::exchange::request::Request;
use crate::http1::Connection;
use crate::log::throttle::and_suppressed;
use crate::queue::DropReason;
use crate::shared::Shared;

/// A sweep takes about 0.1 ms for a thousand requests: this interval limits it to 1 % of the event loop's time while
/// clients keep leaving.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(10);

/// A request that waits for a thread this long causes a warning.
const SATURATED_AFTER: Duration = Duration::from_secs(1);

/// When the waiting requests have to be swept because a client left.
pub(super) struct QueueExpiry {
    sweep_at: Option<Instant>,
    swept_at: Instant,
}

impl QueueExpiry {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sweep_at: None,
            swept_at: now,
        }
    }

    /// The client of a waiting or running request has closed its side.
    pub(super) fn on_client_close(&mut self, now: Instant) {
        let at = now.max(self.swept_at + BETWEEN_SWEEPS);
        self.sweep_at = Some(self.sweep_at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl EventLoop {
    /// When a waiting request has to be dropped, or checked for that.
    pub(super) fn next_expiry(&self, shared: &Shared) -> Option<Instant> {
        let expires = shared.longest_wait().and_then(|limit| {
            let oldest = [self.ready.oldest(), shared.pool.oldest_in_backlog()];
            oldest.into_iter().flatten().min().map(|at| at + limit)
        });
        let sweep_at = self.waiting.sweep_at.filter(|_| self.queued(shared) > 0);
        [expires, sweep_at].into_iter().flatten().min()
    }

    /// Answers or drops waiting requests whose time is over or whose clients have gone. Returns whether there were any.
    pub(super) fn drop_expired_requests(&mut self, shared: &Shared) -> bool {
        let now = self.scratch.now;
        if self.queued(shared) == 0 || self.next_expiry(shared).is_none_or(|at| at > now) {
            return false;
        }
        let limit = shared.longest_wait();
        let mut dropped = Vec::new();
        let again = [
            self.ready.drop_request(now, limit, &mut dropped),
            shared.pool.drop_from_backlog(now, limit, &mut dropped),
        ];
        self.waiting.swept_at = now;
        self.waiting.sweep_at = again.into_iter().flatten().min();
        shared.pool.order().record_drops(dropped.len());
        let has_any = !dropped.is_empty();
        for (exchange, why) in dropped {
            exchange.channel.drop_request(why, now);
            self.keep_request(exchange.request);
        }
        has_any
    }

    /// Logs that all threads are busy once a request has waited for [`SATURATED_AFTER`]. Returns when to look again.
    pub(super) fn report_saturation(&mut self, shared: &Shared) -> Option<Instant> {
        let oldest = shared.pool.oldest_in_backlog()?;
        let now = self.scratch.now;
        let due = oldest + SATURATED_AFTER;
        if now < due {
            return Some(due);
        }
        let threads = shared.pool.max_calls();
        if shared.pool.saturation().running() < threads {
            return None;
        }
        let suppressed = self.complaints.saturated.note(now)?;
        let message = format!(
            "all {threads} threads of this worker are in calls and requests wait ({}, the oldest for {:.1} s) \
             until a call ends or queue_timeout; the limit is threads = {}{}",
            self.queued(shared),
            now.saturating_duration_since(oldest).as_secs_f64(),
            shared.config.threads,
            and_suppressed(suppressed),
        );
        shared
            .error_log
            .write_unless_blocked(Level::Warning, &message);
        None
    }

    pub(super) fn is_queue_full(&self, shared: &Shared) -> bool {
        self.queued(shared) >= shared.config.queue_size
    }

    /// Refuses a request because the queue is full.
    pub(super) fn refuse_queued(&mut self, request: Box<Request>, mut connection: Box<Connection>) {
        connection.answer_unavailable(DropReason::QueueFull, self.scratch.now);
        self.leave_answered(request, connection);
    }

    /// Answers `OPTIONS *` without calling the application.
    #[cold]
    pub(super) fn answer_about_server(
        &mut self,
        request: Box<Request>,
        mut connection: Box<Connection>,
    ) {
        let mut head = ResponseHead::default();
        let is_described = head.set_status(200, b"OK").is_ok();
        debug_assert!(is_described, "constants that are valid");
        connection.queue_own_response(&head, &[], self.scratch.now);
        self.leave_answered(request, connection);
    }

    fn leave_answered(&mut self, request: Box<Request>, connection: Box<Connection>) {
        self.keep_request(request);
        // Not driven at once: a client that pipelines would be answered many times before the next client is read.
        self.queue(&Arc::clone(&connection.slot));
        self.put_back(connection);
    }

    /// Number of requests that wait for a thread.
    pub fn queued(&self, shared: &Shared) -> usize {
        self.ready.len() + shared.pool.kept()
    }

    /// Drives a connection whose last request the application has finished with.
    pub(super) fn go_on(&mut self, token: u64) {
        let held = (self.slots.get(token)).and_then(|slot| slot.lock().connection.take());
        if let Some(mut connection) = held {
            connection.begin_waiting(self.scratch.now);
            self.drive(connection);
        }
    }

    fn keep_request(&mut self, mut request: Box<Request>) {
        request.clear();
        self.scratch.keep_request(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn departures_are_looked_into_soon_but_not_each_by_itself() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut waiting = QueueExpiry::new(start);
        waiting.on_client_close(at(3));
        assert_eq!(waiting.sweep_at, Some(at(10)));
        waiting.on_client_close(at(9));
        assert_eq!(waiting.sweep_at, Some(at(10)));
        waiting.sweep_at = None;
        waiting.on_client_close(at(50));
        assert_eq!(waiting.sweep_at, Some(at(50)));
    }
}
