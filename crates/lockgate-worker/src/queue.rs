//! The queue of requests that wait for a thread: in which order they are taken, and which are given up.
//!
//! Adaptive LIFO: first come, first served, until waiting clients leave or run out of time. From then on the oldest
//! clients are about to leave, and serving them is wasted work: while requests are given up, the newest come first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::reply::{Look, Presence, ReplyChannel};
use crate::request::Request;

/// Requests that have waited for less are called without a look at their clients' sockets: few clients leave so soon,
/// and the look is a system call.
const LOOK_AFTER: Duration = Duration::from_millis(5);

/// A client that has closed its sending side counts as gone once its request has waited this long; see
/// docs/decisions/0010-a-client-that-closes-while-it-waits-has-gone.md.
pub const HALF_CLOSED_FOR: Duration = Duration::from_millis(100);

/// After each request given up, the next 16 are taken LIFO. At a load of 1 + 1/16 of the capacity that is all of them.
/// A single impatient client without overload delays the others by at most this many calls.
const TURNED_BY: u32 = 16;

/// The queue returns to FIFO after this many calls without another request given up.
const TURNED_AT_MOST: u32 = 64;

/// A request that is ready to run, with the channel for its response.
pub struct Job {
    pub request: Box<Request>,
    pub channel: Box<dyn ReplyChannel>,
    /// When it was complete, as far as the event loop can know.
    pub ready_at: Instant,
    /// The same moment on the clock of the shared page.
    pub ready_nanos: u64,
    /// It was kept because no thread was free.
    pub was_kept: bool,
}

impl Job {
    /// Where to look for the client before the call, if anywhere.
    pub fn look(&self, waited: Duration) -> Option<Look> {
        if waited >= LOOK_AFTER {
            Some(Look::AtSocket)
        } else if self.was_kept {
            Some(Look::AtEvents)
        } else {
            None
        }
    }
}

/// Why a request is not passed on to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// The client has gone: nothing can reach it.
    Gone,
    /// The client has closed its sending side and has most likely gone.
    HalfClosed,
    /// The request has waited longer than `queue_timeout` or `request_timeout`.
    TooLate,
    /// `queue_size` other requests wait already.
    QueueFull,
}

/// Whether a request that has waited is still worth a call. `limit` is how long it may wait.
pub fn judge(waited: Duration, presence: Presence, limit: Option<Duration>) -> Option<GivenUp> {
    match presence {
        Presence::Gone => Some(GivenUp::Gone),
        Presence::HalfClosed if waited >= HALF_CLOSED_FOR => Some(GivenUp::HalfClosed),
        _ if limit.is_some_and(|limit| waited >= limit) => Some(GivenUp::TooLate),
        _ => None,
    }
}

/// The queue discipline, shared by all queues of a worker. It is a hint: nothing else depends on it.
#[derive(Debug, Default)]
pub struct Order {
    turned_for: AtomicU32,
}

impl Order {
    /// Requests that waited were given up.
    pub fn note_given_up(&self, count: usize) {
        if count > 0 {
            let more = TURNED_BY.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
            let turned = self.turned_for.load(Ordering::Relaxed).saturating_add(more);
            self.turned_for
                .store(turned.min(TURNED_AT_MOST), Ordering::Relaxed);
        }
    }

    /// Whether the next request to take is the newest.
    fn takes_newest(&self) -> bool {
        let turned = self.turned_for.load(Ordering::Relaxed);
        if turned > 0 {
            self.turned_for.store(turned - 1, Ordering::Relaxed);
        }
        turned > 0
    }
}

/// See the module documentation.
#[derive(Default)]
pub struct Queue {
    jobs: VecDeque<Job>,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
    }

    /// The next request to run.
    pub fn take(&mut self, order: &Order) -> Option<Job> {
        if self.jobs.len() > 1 && order.takes_newest() {
            self.jobs.pop_back()
        } else {
            self.jobs.pop_front()
        }
    }

    /// When the oldest request was complete.
    pub fn oldest(&self) -> Option<Instant> {
        self.jobs.front().map(|job| job.ready_at)
    }

    /// Takes out the requests that are no longer worth a call, by what the event loop has seen of their clients.
    /// Returns when to look again because of a client that has only just closed its sending side.
    pub fn give_up(
        &mut self,
        now: Instant,
        limit: Option<Duration>,
        into: &mut Vec<(Job, GivenUp)>,
    ) -> Option<Instant> {
        let mut look_again = None;
        for _ in 0..self.jobs.len() {
            let Some(mut job) = self.jobs.pop_front() else {
                break;
            };
            let presence = job.channel.presence(Look::AtEvents);
            match judge(now.saturating_duration_since(job.ready_at), presence, limit) {
                Some(why) => into.push((job, why)),
                None => {
                    if presence == Presence::HalfClosed {
                        let at = job.ready_at + HALF_CLOSED_FOR;
                        look_again =
                            Some(look_again.map_or(at, |earliest: Instant| earliest.min(at)));
                    }
                    self.jobs.push_back(job);
                }
            }
        }
        look_again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::Client;

    fn queue_of(start: Instant, jobs: &[(u64, Presence)]) -> Queue {
        let mut queue = Queue::default();
        for &(millis, presence) in jobs {
            queue.push(Job {
                request: Box::default(),
                channel: Box::new(Client(presence)),
                ready_at: start + Duration::from_millis(millis),
                ready_nanos: 0,
                was_kept: false,
            });
        }
        queue
    }

    fn taken(queue: &mut Queue, order: &Order, start: Instant) -> Vec<u128> {
        std::iter::from_fn(|| queue.take(order))
            .map(|job| (job.ready_at - start).as_millis())
            .collect()
    }

    #[test]
    fn a_request_is_given_up_for_its_client_or_its_time() {
        use GivenUp::{Gone, HalfClosed, TooLate};
        let limit = Some(Duration::from_secs(30));
        let cases = [
            (0, Presence::There, limit, None),
            (29_999, Presence::There, limit, None),
            (30_000, Presence::There, limit, Some(TooLate)),
            (u64::from(u32::MAX), Presence::There, None, None),
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
            let found = judge(Duration::from_millis(millis), presence, limit);
            assert_eq!(found, expected, "{millis} ms, {presence:?}, {limit:?}");
        }
    }

    #[test]
    fn requests_are_taken_in_order_until_some_are_given_up() {
        let start = Instant::now();
        let jobs: Vec<(u64, Presence)> = (0..40).map(|at| (at, Presence::There)).collect();
        let order = Order::default();
        let in_order: Vec<u128> = (0..40).collect();
        assert_eq!(taken(&mut queue_of(start, &jobs), &order, start), in_order);
        order.note_given_up(0);
        assert_eq!(taken(&mut queue_of(start, &jobs), &order, start), in_order);
        order.note_given_up(1);
        let turned: Vec<u128> = (24..40).rev().chain(0..24).collect();
        assert_eq!(taken(&mut queue_of(start, &jobs), &order, start), turned);
        // With any number of them the queue returns to FIFO after a bounded number of calls.
        order.note_given_up(10_000);
        let both: Vec<(u64, Presence)> = (0..80).map(|at| (at, Presence::There)).collect();
        let turned: Vec<u128> = (16..80).rev().chain(0..16).collect();
        assert_eq!(taken(&mut queue_of(start, &both), &order, start), turned);
    }

    #[test]
    fn a_single_request_does_not_use_up_the_turn() {
        let start = Instant::now();
        let order = Order::default();
        order.note_given_up(1);
        for _ in 0..100 {
            let mut queue = queue_of(start, &[(0, Presence::There)]);
            assert_eq!(taken(&mut queue, &order, start), [0]);
        }
        let mut queue = queue_of(start, &[(0, Presence::There), (1, Presence::There)]);
        assert_eq!(taken(&mut queue, &order, start), [1, 0]);
    }

    #[test]
    fn what_is_given_up_is_taken_out_from_anywhere_and_the_rest_keeps_its_order() {
        let start = Instant::now();
        let mut queue = queue_of(
            start,
            &[
                (0, Presence::There),
                (100, Presence::Gone),
                (200, Presence::HalfClosed),
                (300, Presence::There),
                (950, Presence::HalfClosed),
                (980, Presence::HalfClosed),
                (990, Presence::Gone),
            ],
        );
        let mut given_up = Vec::new();
        let now = start + Duration::from_millis(1000);
        let again = queue.give_up(now, Some(Duration::from_secs(1)), &mut given_up);
        let reasons: Vec<GivenUp> = given_up.iter().map(|(_, why)| *why).collect();
        use GivenUp::{Gone, HalfClosed, TooLate};
        assert_eq!(reasons, [TooLate, Gone, HalfClosed, Gone]);
        assert_eq!(again, Some(start + Duration::from_millis(1050)));
        assert_eq!(taken(&mut queue, &Order::default(), start), [300, 950, 980]);
    }
}
