//! Queue expiry: when the waiting requests are swept, and how many there may be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::ResponseHead;
use lockgate_observe::Level;

use super::Lane;
use crate::connection::Connection;
use crate::queue::GivenUp;
use crate::recurrence::and_unsaid;
use crate::request::Request;
use crate::shared::Shared;

/// A sweep takes about 0.1 ms for a thousand requests: this interval limits it to 1 % of the event loop's time while
/// clients keep leaving.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(10);

/// A request that waits for a thread this long causes a warning.
const SATURATED_AFTER: Duration = Duration::from_secs(1);

/// When the waiting requests have to be swept because a client left.
pub(super) struct Waiting {
    sweep_at: Option<Instant>,
    swept_at: Instant,
}

impl Waiting {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sweep_at: None,
            swept_at: now,
        }
    }

    /// The client of a waiting or running request has closed its side.
    pub(super) fn note_departure(&mut self, now: Instant) {
        let at = now.max(self.swept_at + BETWEEN_SWEEPS);
        self.sweep_at = Some(self.sweep_at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Lane {
    /// When a waiting request has to be given up, or checked for that.
    pub(super) fn gives_up_at(&self, shared: &Shared) -> Option<Instant> {
        let expires = shared.longest_wait().and_then(|limit| {
            let oldest = [self.ready.oldest(), shared.crew.oldest_kept()];
            oldest.into_iter().flatten().min().map(|at| at + limit)
        });
        let sweep_at = self.waiting.sweep_at.filter(|_| self.queued(shared) > 0);
        [expires, sweep_at].into_iter().flatten().min()
    }

    /// Answers or drops waiting requests whose time is over or whose clients have gone. Returns whether there were any.
    pub(super) fn give_up_waiting(&mut self, shared: &Shared) -> bool {
        let now = self.bench.now;
        if self.queued(shared) == 0 || self.gives_up_at(shared).is_none_or(|at| at > now) {
            return false;
        }
        let limit = shared.longest_wait();
        let mut given_up = Vec::new();
        let again = [
            self.ready.give_up(now, limit, &mut given_up),
            shared.crew.give_up_kept(now, limit, &mut given_up),
        ];
        self.waiting.swept_at = now;
        self.waiting.sweep_at = again.into_iter().flatten().min();
        shared.crew.order().note_given_up(given_up.len());
        let has_any = !given_up.is_empty();
        for (job, why) in given_up {
            job.channel.give_up(why, now);
            self.keep_request(job.request);
        }
        has_any
    }

    /// Logs that all threads are busy once a request has waited for [`SATURATED_AFTER`]. Returns when to look again.
    pub(super) fn report_saturation(&mut self, shared: &Shared) -> Option<Instant> {
        let oldest = shared.crew.oldest_kept()?;
        let now = self.bench.now;
        let due = oldest + SATURATED_AFTER;
        if now < due {
            return Some(due);
        }
        let threads = shared.crew.most_calls();
        if shared.crew.crowd().running() < threads {
            return None;
        }
        let unsaid = self.complaints.saturated.note(now)?;
        let message = format!(
            "all {threads} threads of this worker are in calls and requests wait ({}, the oldest for {:.1} s) \
             until a call ends or queue_timeout; the limit is threads = {}{}",
            self.queued(shared),
            now.saturating_duration_since(oldest).as_secs_f64(),
            shared.config.threads,
            and_unsaid(unsaid),
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
        connection.answer_unavailable(GivenUp::QueueFull, self.bench.now);
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
        connection.queue_own_response(&head, &[], self.bench.now);
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
        self.ready.len() + shared.crew.kept()
    }

    /// Drives a connection whose last request the application has finished with.
    pub(super) fn go_on(&mut self, token: u64) {
        let held = (self.slots.get(token)).and_then(|slot| slot.lock().connection.take());
        if let Some(mut connection) = held {
            connection.begin_waiting(self.bench.now);
            self.drive(connection);
        }
    }

    fn keep_request(&mut self, mut request: Box<Request>) {
        request.clear();
        self.bench.keep_request(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn departures_are_looked_into_soon_but_not_each_by_itself() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut waiting = Waiting::new(start);
        waiting.note_departure(at(3));
        assert_eq!(waiting.sweep_at, Some(at(10)));
        waiting.note_departure(at(9));
        assert_eq!(waiting.sweep_at, Some(at(10)));
        waiting.sweep_at = None;
        waiting.note_departure(at(50));
        assert_eq!(waiting.sweep_at, Some(at(50)));
    }
}
