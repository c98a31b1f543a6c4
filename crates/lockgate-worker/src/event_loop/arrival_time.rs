//! Arrival times: how long an event may have waited before the poller reported it.
//!
//! With `threads = 1` no thread polls during a call, and the kernel does not report when bytes arrived. It does report
//! in order of arrival, N events at a time: everything that was there when a round of polls began has been seen once
//! the round has returned as many events as there can be.
//!
//! Invariant: the horizon never lags for longer than such a round takes, however much keeps arriving. A horizon that
//! waited for a poll that shows everything lagged for as long as a worker was saturated, and every request of its
//! clients seemed to have waited since.

use std::time::{Duration, Instant};

use crate::poller::EVENTS_AT_ONCE;

/// A poll that returned sooner found its events waiting. For arrival times a shorter sleep makes no difference.
const SLEPT: Duration = Duration::from_millis(1);

/// The time up to which all events of one kind have been seen.
#[derive(Clone, Copy)]
struct Horizon {
    seen_all_at: Instant,
    /// When the current round of incomplete polls began, and how many events it has returned.
    began_at: Instant,
    shown: usize,
}

impl Horizon {
    fn at(seen_all_at: Instant, now: Instant) -> Self {
        Self {
            seen_all_at,
            began_at: now,
            shown: 0,
        }
    }

    /// A poll has returned `shown` more events: all of them if `is_all`; otherwise there are at most `most`.
    fn advance(&mut self, now: Instant, shown: usize, is_all: bool, most: usize) {
        self.shown = self.shown.saturating_add(shown);
        if is_all {
            *self = Self::at(now, now);
        } else if self.shown >= most {
            *self = Self::at(self.began_at, now);
        }
    }
}

/// What the event loop has seen, and when.
pub(super) struct ArrivalClock {
    events: Horizon,
    /// The same for the kernel's queue of connections, while some were left in it for the next accept.
    accept_queue: Option<Horizon>,
    /// Up to when all events had been seen before the last poll.
    seen_before: Instant,
    /// The arrival time of the requests that are being read: the middle of the time without a poll.
    pub(super) request_arrived_at: Instant,
    /// The same for requests on connections that are being accepted.
    pub(super) connection_arrived_at: Instant,
}

impl ArrivalClock {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            events: Horizon::at(now, now),
            accept_queue: None,
            seen_before: now,
            request_arrived_at: now,
            connection_arrived_at: now,
        }
    }

    /// The poller was called at `asked_at` and returned `events` events; it watches `watched` descriptors.
    pub(super) fn on_poll(
        &mut self,
        asked_at: Instant,
        now: Instant,
        events: usize,
        watched: usize,
    ) {
        let has_slept = now.saturating_duration_since(asked_at) >= SLEPT;
        let middle_since = |seen: Instant| {
            if has_slept {
                now
            } else {
                now - asked_at.saturating_duration_since(seen) / 2
            }
        };
        let seen = self.events.seen_all_at;
        self.request_arrived_at = middle_since(seen);
        self.connection_arrived_at = middle_since(match self.accept_queue {
            Some(accept_queue) => accept_queue.seen_all_at.min(seen),
            None => seen,
        });
        self.seen_before = seen;
        // A full list of events may not be all of them; the others have waited as long.
        let is_all = events < EVENTS_AT_ONCE;
        self.events.advance(now, events, is_all, watched);
    }

    /// Connections were accepted: all (`None`), or `Some(n)` of a queue that may still hold some, `most` at most.
    pub(super) fn record_accepted(&mut self, now: Instant, part: Option<usize>, most: usize) {
        let Some(part) = part else {
            self.accept_queue = None;
            return;
        };
        self.accept_queue
            .get_or_insert(Horizon::at(self.seen_before, now))
            .advance(now, part, false, most);
    }

    /// Accepting pauses: connections that arrive during the pause do not wait for a poll.
    pub(super) fn on_pause(&mut self) {
        self.accept_queue = None;
    }

    /// Up to when everything that clients have sent on their connections has been seen.
    pub(super) fn seen_all_at(&self) -> Instant {
        self.events.seen_all_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arrival_time_is_the_middle_of_the_time_without_a_poll() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut arrival_clock = ArrivalClock::new(start);
        // A call of three seconds, then a poll that returns an event at once.
        arrival_clock.on_poll(at(3000), at(3000), 1, 9);
        assert_eq!(arrival_clock.request_arrived_at, at(1500));
        // Two hundred milliseconds of sleep that an arrival ends.
        arrival_clock.on_poll(at(3000), at(3200), 1, 9);
        assert_eq!(arrival_clock.request_arrived_at, at(3200));
        // More events have arrived than one poll returns: the rest have waited as long.
        arrival_clock.on_poll(at(4200), at(4200), EVENTS_AT_ONCE, 1000);
        assert_eq!(arrival_clock.request_arrived_at, at(3700));
        arrival_clock.on_poll(at(4300), at(4300), 5, 1000);
        assert_eq!(arrival_clock.request_arrived_at, at(3750));
        // So have connections that were not accepted at once, but not what arrives on those that were.
        arrival_clock.record_accepted(at(4300), Some(16), 2048);
        arrival_clock.on_poll(at(4300), at(4300), 5, 1000);
        assert_eq!(
            (
                arrival_clock.request_arrived_at,
                arrival_clock.connection_arrived_at
            ),
            (at(4300), at(3750))
        );
        arrival_clock.record_accepted(at(4300), None, 2048);
        arrival_clock.on_poll(at(4302), at(4302), 0, 1000);
        assert_eq!(
            (
                arrival_clock.request_arrived_at,
                arrival_clock.connection_arrived_at
            ),
            (at(4301), at(4301))
        );
    }

    #[test]
    fn the_horizon_advances_although_no_poll_shows_everything() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut arrival_clock = ArrivalClock::new(start);
        // A thousand clients that send the next request as soon as they are answered, and 200 that connect for each
        // request: one poll a millisecond, for a minute, and each leaves some events for the next.
        for millis in 1..60_000 {
            let now = at(millis);
            arrival_clock.on_poll(now, now, EVENTS_AT_ONCE, 1002);
            arrival_clock.record_accepted(now, Some(16), 256);
            assert!(
                now - arrival_clock.request_arrived_at <= Duration::from_millis(10),
                "{millis}"
            );
            assert!(
                now - arrival_clock.connection_arrived_at <= Duration::from_millis(20),
                "{millis}"
            );
            assert!(
                now - arrival_clock.seen_all_at() <= Duration::from_millis(20),
                "{millis}"
            );
        }
    }
}
