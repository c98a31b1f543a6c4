//! Load shedding: the response to requests that get no thread (503, or none for clients that have gone), and a warning
//! for the operator. The queue decides which requests those are.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use lockgate_http::ResponseHead;
use lockgate_observe::{Level, Loss, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::event_loop::Returned;
use crate::event_loop::poller::Readiness;
use crate::exchange::response::{Look, Presence, ResponseWriter};
use crate::http1::Connection;
use crate::log::throttle::LogThrottle;
use crate::queue::DropReason;
use crate::shared::Shared;

/// Seconds until the client should try again. The queue recovers from an overload within a second; where it does not, a
/// refusal costs less than the idle time of a longer pause.
const RETRY_AFTER: &[u8] = b"1";

/// Refusals that have not been logged yet.
#[derive(Default)]
pub struct SheddingReport {
    refusals: Mutex<Refusals>,
}

#[derive(Default)]
struct Refusals {
    throttle: LogThrottle,
    too_late: u64,
    queue_full: u64,
}

impl SheddingReport {
    /// Counts a refusal. When a line is due: how many were too late, and how many found the queue full.
    fn note(&self, why: DropReason, now: Instant) -> Option<(u64, u64)> {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            DropReason::TooLate => refusals.too_late += 1,
            DropReason::QueueFull => refusals.queue_full += 1,
            DropReason::Gone | DropReason::HalfClosed => return None,
        }
        refusals.throttle.note(now)?;
        Some((
            std::mem::take(&mut refusals.too_late),
            std::mem::take(&mut refusals.queue_full),
        ))
    }
}

impl Shared {
    fn report_overload(&self, why: DropReason, now: Instant) {
        let Some((too_late, queue_full)) = self.overload.note(why, now) else {
            return;
        };
        let mut parts = Vec::new();
        if too_late > 0 {
            let limit = self.longest_wait().unwrap_or_default();
            let setting = if self.config.queue_timeout == Some(limit) {
                "queue_timeout"
            } else {
                "request_timeout"
            };
            parts.push(format!(
                "{too_late} waited for a thread for longer than {setting} = {limit:?}"
            ));
        }
        if queue_full > 0 {
            let size = self.config.queue_size;
            parts.push(format!(
                "{queue_full} found queue_size = {size} others waiting"
            ));
        }
        let message = format!(
            "more requests than this worker can answer; refused with 503: {}",
            parts.join(", ")
        );
        self.error_log
            .write_unless_blocked(Level::Warning, &message);
    }
}

impl Connection {
    /// Ends a request that waited in vain, on any thread; the leader sends the response.
    pub fn leave_unanswered(mut self: Box<Self>, why: DropReason, now: Instant) {
        let shared = std::sync::Arc::clone(&self.shared);
        if why == DropReason::Gone {
            self.lose(now);
            return shared.discard(self);
        }
        self.answer_unavailable(why, now);
        shared.push_return(Returned::Connection(self), true);
    }

    /// Queues a 503. The request was read in full, so the connection may continue: opening another one would cost both
    /// sides more than the refusal.
    pub fn answer_unavailable(&mut self, why: DropReason, now: Instant) {
        let detail = match why {
            DropReason::TooLate => "no thread became free in time",
            DropReason::HalfClosed => {
                "the client closed its side of the connection while it waited"
            }
            DropReason::QueueFull | DropReason::Gone => "too many requests are waiting",
        };
        self.shared.report_overload(why, now);
        self.shared.report_refusal(&self.client, detail);
        let text = format!("503 Service Unavailable: {detail}\n");
        // A client that closed its side while it waited has most likely gone, and 499 is the accurate status. A client
        // that was only half closed is answered all the same.
        let (outcome, closes) = match why {
            DropReason::HalfClosed => (Outcome::ClientGone, true),
            _ => (Outcome::Overloaded, false),
        };
        let mut head = ResponseHead::default();
        let is_described = head.set_status(503, b"Service Unavailable").is_ok()
            && head.push(b"Retry-After", RETRY_AFTER).is_ok()
            && head
                .push(b"Content-Type", b"text/plain; charset=utf-8")
                .is_ok()
            && (!closes || head.push(b"Connection", b"close").is_ok());
        debug_assert!(is_described, "constants that are valid");
        self.queue_own_response(&head, text.as_bytes(), now);
        if let Some(entry) = &mut self.entry {
            match why {
                DropReason::TooLate => entry.reason = Some("queue_timeout"),
                DropReason::QueueFull => entry.reason = Some("queue_full"),
                DropReason::HalfClosed | DropReason::Gone => entry.status = 499,
            }
        }
        let is_seen = outcome == Outcome::Overloaded && self.allows_body();
        let body_bytes = if is_seen { text.len() } else { 0 };
        self.record_body(body_bytes as u64, outcome, now);
        self.count_loss(match why {
            DropReason::QueueFull => Loss::QueueFull,
            DropReason::TooLate => Loss::QueueTimeout,
            DropReason::HalfClosed | DropReason::Gone => Loss::ClientGone,
        });
    }

    /// Whether the client is still there, as far as can be known without sending anything.
    pub fn find_presence(&mut self, look: Look) -> Presence {
        let pending = std::mem::take(&mut self.slot.lock().pending);
        self.note(pending);
        if look == Look::AtSocket && !self.hung_up {
            let seen = self.look_at_socket();
            self.note(seen);
        }
        if self.hung_up {
            Presence::Gone
        } else if self.read_closing || self.read_closed {
            Presence::HalfClosed
        } else {
            Presence::There
        }
    }

    fn look_at_socket(&self) -> Readiness {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut watched = [PollFd::from_borrowed_fd(
            self.transport.descriptor(),
            PollFlags::RDHUP,
        )];
        match poll(&mut watched, Some(&at_once)) {
            Ok(_) => {
                let seen = watched[0].revents();
                Readiness {
                    read_closed: seen.contains(PollFlags::RDHUP),
                    hung_up: seen.intersects(PollFlags::HUP | PollFlags::ERR),
                    ..Readiness::default()
                }
            }
            // Nothing was learnt; an error of the socket shows when the response is sent.
            Err(_) => Readiness::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn refusals_are_told_of_at_once_and_then_together() {
        let born = Instant::now();
        let tally = SheddingReport::default();
        let at = |seconds| born + Duration::from_secs(seconds);
        assert_eq!(tally.note(DropReason::Gone, at(0)), None);
        assert_eq!(tally.note(DropReason::QueueFull, at(0)), Some((0, 1)));
        assert_eq!(tally.note(DropReason::QueueFull, at(1)), None);
        assert_eq!(tally.note(DropReason::TooLate, at(9)), None);
        assert_eq!(tally.note(DropReason::HalfClosed, at(11)), None);
        assert_eq!(tally.note(DropReason::TooLate, at(11)), Some((2, 1)));
        assert_eq!(tally.note(DropReason::TooLate, at(20)), None);
    }
}
