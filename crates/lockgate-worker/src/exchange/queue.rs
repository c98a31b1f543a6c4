//! The queue of requests that wait for a thread: in which order they are taken, and which are dropped.
//!
//! Adaptive LIFO: first come, first served, until waiting clients leave or run out of time. From then on the oldest
//! clients are about to leave, and serving them is wasted work: while requests are dropped, the newest come first.
//!
//! Requests of a higher priority are taken before all others, which wait meanwhile, at most as long as they may.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lockgate_config::Priority;

use super::Exchange;
use super::request::Request;
use super::route_limits::RouteLimits;
use super::writer::{DropReason, HALF_CLOSED_FOR, Presence, PresenceCheck};

/// After each request dropped, the next 16 are taken LIFO. At a load of 1 + 1/16 of the capacity that is all of them.
/// A single impatient client without overload delays the others by at most this many calls.
const LIFO_PER_DROP: u32 = 16;

/// The queue returns to FIFO after this many calls without another request dropped.
const MAX_LIFO: u32 = 64;

/// How long requests may wait for a thread.
#[derive(Clone, Copy)]
pub struct LongestWait<'a> {
    /// Where no route sets a limit.
    pub server: Option<Duration>,
    /// Those of the routes.
    pub routes: Option<&'a RouteLimits>,
}

impl LongestWait<'_> {
    /// Of this request.
    pub fn of(&self, request: &Request) -> Option<Duration> {
        match self.routes {
            None => self.server,
            Some(routes) => routes.of_request(request).longest_wait,
        }
    }
}

/// Whether a request that has waited is still worth a call. `limit` is how long it may wait.
pub fn drop_reason(
    waited: Duration,
    presence: Presence,
    limit: Option<Duration>,
) -> Option<DropReason> {
    match presence {
        Presence::Gone => Some(DropReason::Gone),
        Presence::HalfClosed if waited >= HALF_CLOSED_FOR => Some(DropReason::HalfClosed),
        _ if limit.is_some_and(|limit| waited >= limit) => Some(DropReason::TooLate),
        _ => None,
    }
}

/// The queue discipline, shared by all queues of a worker. It is a hint: nothing else depends on it.
#[derive(Debug, Default)]
pub struct QueueDiscipline {
    lifo_left: AtomicU32,
}

impl QueueDiscipline {
    /// Requests that waited were dropped.
    pub fn record_drops(&self, count: usize) {
        if count > 0 {
            let more = LIFO_PER_DROP.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
            let lifo = self.lifo_left.load(Ordering::Relaxed).saturating_add(more);
            self.lifo_left.store(lifo.min(MAX_LIFO), Ordering::Relaxed);
        }
    }

    /// Whether the next request to take is the newest.
    fn takes_newest(&self) -> bool {
        let lifo = self.lifo_left.load(Ordering::Relaxed);
        if lifo > 0 {
            self.lifo_left.store(lifo - 1, Ordering::Relaxed);
        }
        lifo > 0
    }
}

/// See the module documentation.
#[derive(Default)]
pub struct Queue {
    exchanges: VecDeque<Exchange>,
    /// Empty unless a route sets a priority.
    high: VecDeque<Exchange>,
    /// Empty unless a route sets a priority.
    low: VecDeque<Exchange>,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.exchanges.len() + self.high.len() + self.low.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn push(&mut self, exchange: Exchange) {
        let queue = match exchange.priority {
            Priority::Normal => &mut self.exchanges,
            Priority::High => &mut self.high,
            Priority::Low => &mut self.low,
        };
        queue.push_back(exchange);
    }

    /// The next request to run.
    pub fn take(&mut self, discipline: &QueueDiscipline) -> Option<Exchange> {
        let exchanges = match self.priority()? {
            Priority::Normal => &mut self.exchanges,
            Priority::High => &mut self.high,
            Priority::Low => &mut self.low,
        };
        if exchanges.len() > 1 && discipline.takes_newest() {
            exchanges.pop_back()
        } else {
            exchanges.pop_front()
        }
    }

    /// The priority of the next request to run.
    pub fn priority(&self) -> Option<Priority> {
        if !self.high.is_empty() {
            return Some(Priority::High);
        }
        if !self.exchanges.is_empty() {
            return Some(Priority::Normal);
        }
        (!self.low.is_empty()).then_some(Priority::Low)
    }

    /// When the oldest request was complete.
    #[inline]
    pub fn oldest(&self) -> Option<Instant> {
        let oldest = |queue: &VecDeque<Exchange>| queue.front().map(|exchange| exchange.queued_at);
        if self.high.is_empty() && self.low.is_empty() {
            return oldest(&self.exchanges);
        }
        let queues = [&self.exchanges, &self.high, &self.low];
        queues.into_iter().filter_map(oldest).min()
    }

    /// Takes out the requests that are no longer worth a call, by what the event loop has seen of their clients.
    /// Returns when to check again, because a client has only just closed its sending side.
    pub fn drop_requests(
        &mut self,
        now: Instant,
        limit: LongestWait<'_>,
        into: &mut Vec<(Exchange, DropReason)>,
    ) -> Option<Instant> {
        let queues = [&mut self.exchanges, &mut self.high, &mut self.low];
        let check_again = queues.map(|queue| drop_from(queue, now, limit, into));
        check_again.into_iter().flatten().min()
    }
}

fn drop_from(
    queue: &mut VecDeque<Exchange>,
    now: Instant,
    limit: LongestWait<'_>,
    into: &mut Vec<(Exchange, DropReason)>,
) -> Option<Instant> {
    let mut check_again = None;
    for _ in 0..queue.len() {
        let Some(mut exchange) = queue.pop_front() else {
            break;
        };
        let presence = exchange.writer.client().presence(PresenceCheck::Events);
        let waited = now.saturating_duration_since(exchange.queued_at);
        match drop_reason(waited, presence, limit.of(&exchange.request)) {
            Some(why) => into.push((exchange, why)),
            None => {
                if presence == Presence::HalfClosed {
                    let at = exchange.queued_at + HALF_CLOSED_FOR;
                    check_again =
                        Some(check_again.map_or(at, |earliest: Instant| earliest.min(at)));
                }
                queue.push_back(exchange);
            }
        }
    }
    check_again
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::Client;

    fn queue_of(start: Instant, exchanges: &[(u64, Presence)]) -> Queue {
        let mut queue = Queue::default();
        for &(millis, presence) in exchanges {
            queue.push(Exchange::new(
                Box::default(),
                Box::new(Client::new(presence)),
                start + Duration::from_millis(millis),
                0,
            ));
        }
        queue
    }

    fn after(server: Duration) -> LongestWait<'static> {
        LongestWait {
            server: Some(server),
            routes: None,
        }
    }

    #[test]
    fn a_higher_priority_is_taken_first_and_each_keeps_its_order() {
        use Priority::{High, Low, Normal};
        for (waiting, drops, expected) in [
            (
                &[Low, Normal, High, Normal, High, Low][..],
                0,
                &[2, 4, 1, 3, 0, 5][..],
            ),
            (&[Normal, Normal], 0, &[0, 1]),
            (&[Low, Low, High], 0, &[2, 0, 1]),
            // Newest first holds within a priority.
            (&[Low, High, High, Normal, Low], 1, &[2, 1, 3, 4, 0]),
        ] {
            let start = Instant::now();
            let mut queue = Queue::default();
            for (at, &priority) in (0..).zip(waiting) {
                let client = Box::new(Client::new(Presence::Connected));
                let ready_at = start + Duration::from_millis(at);
                let mut exchange = Exchange::new(Box::default(), client, ready_at, 0);
                exchange.priority = priority;
                queue.push(exchange);
            }
            assert_eq!(queue.oldest(), Some(start), "{waiting:?}");
            let discipline = QueueDiscipline::default();
            discipline.record_drops(drops);
            assert_eq!(
                taken(&mut queue, &discipline, start),
                expected,
                "{waiting:?}"
            );
        }
    }

    fn taken(queue: &mut Queue, discipline: &QueueDiscipline, start: Instant) -> Vec<u128> {
        std::iter::from_fn(|| queue.take(discipline))
            .map(|exchange| (exchange.ready_at - start).as_millis())
            .collect()
    }

    #[test]
    fn a_request_is_dropped_if_its_client_left_or_its_time_is_over() {
        use DropReason::{Gone, HalfClosed, TooLate};
        let limit = Some(Duration::from_secs(30));
        let cases = [
            (0, Presence::Connected, limit, None),
            (29_999, Presence::Connected, limit, None),
            (30_000, Presence::Connected, limit, Some(TooLate)),
            (u64::from(u32::MAX), Presence::Connected, None, None),
            (0, Presence::Gone, limit, Some(Gone)),
            (40_000, Presence::Gone, limit, Some(Gone)),
            (99, Presence::HalfClosed, limit, None),
            (100, Presence::HalfClosed, limit, Some(HalfClosed)),
            (100, Presence::HalfClosed, None, Some(HalfClosed)),
            (
                50,
                Presence::HalfClosed,
                Some(Duration::from_millis(50)),
                Some(TooLate),
            ),
        ];
        for (millis, presence, limit, expected) in cases {
            let found = drop_reason(Duration::from_millis(millis), presence, limit);
            assert_eq!(found, expected, "{millis} ms, {presence:?}, {limit:?}");
        }
    }

    #[test]
    fn requests_are_taken_in_order_until_some_are_dropped() {
        let start = Instant::now();
        let exchanges: Vec<(u64, Presence)> = (0..40).map(|at| (at, Presence::Connected)).collect();
        let discipline = QueueDiscipline::default();
        let in_order: Vec<u128> = (0..40).collect();
        assert_eq!(
            taken(&mut queue_of(start, &exchanges), &discipline, start),
            in_order
        );
        discipline.record_drops(0);
        assert_eq!(
            taken(&mut queue_of(start, &exchanges), &discipline, start),
            in_order
        );
        discipline.record_drops(1);
        let lifo: Vec<u128> = (24..40).rev().chain(0..24).collect();
        assert_eq!(
            taken(&mut queue_of(start, &exchanges), &discipline, start),
            lifo
        );
        // With any number of them the queue returns to FIFO after a bounded number of calls.
        discipline.record_drops(10_000);
        let both: Vec<(u64, Presence)> = (0..80).map(|at| (at, Presence::Connected)).collect();
        let lifo: Vec<u128> = (16..80).rev().chain(0..16).collect();
        assert_eq!(taken(&mut queue_of(start, &both), &discipline, start), lifo);
    }

    #[test]
    fn a_single_request_does_not_use_up_the_lifo_period() {
        let start = Instant::now();
        let discipline = QueueDiscipline::default();
        discipline.record_drops(1);
        for _ in 0..100 {
            let mut queue = queue_of(start, &[(0, Presence::Connected)]);
            assert_eq!(taken(&mut queue, &discipline, start), [0]);
        }
        let mut queue = queue_of(start, &[(0, Presence::Connected), (1, Presence::Connected)]);
        assert_eq!(taken(&mut queue, &discipline, start), [1, 0]);
    }

    #[test]
    fn requests_are_dropped_from_any_position_and_the_rest_keep_their_order() {
        let start = Instant::now();
        let mut queue = queue_of(
            start,
            &[
                (0, Presence::Connected),
                (100, Presence::Gone),
                (200, Presence::HalfClosed),
                (300, Presence::Connected),
                (950, Presence::HalfClosed),
                (980, Presence::HalfClosed),
                (990, Presence::Gone),
            ],
        );
        let mut dropped = Vec::new();
        let now = start + Duration::from_millis(1000);
        let again = queue.drop_requests(now, after(Duration::from_secs(1)), &mut dropped);
        let reasons: Vec<DropReason> = dropped.iter().map(|(_, why)| *why).collect();
        use DropReason::{Gone, HalfClosed, TooLate};
        assert_eq!(reasons, [TooLate, Gone, HalfClosed, Gone]);
        assert_eq!(again, Some(start + Duration::from_millis(1050)));
        assert_eq!(
            taken(&mut queue, &QueueDiscipline::default(), start),
            [300, 950, 980]
        );
    }
}
