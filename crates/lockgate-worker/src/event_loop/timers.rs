//! The timer heap: when the deadline of each connection has to be checked.
//!
//! A connection moves its own deadline with every request, at the cost of one store; only *armed* entries are in the
//! heap, and the connection's owner arms an entry again that comes up early. So a request on a keep-alive connection
//! costs no heap operation.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Armed deadlines by slot token.
#[derive(Debug)]
pub struct Timers {
    /// Nanoseconds since `began`, which is half of an `Instant`, and the token.
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    began: Instant,
}

impl Timers {
    pub fn new(began: Instant) -> Self {
        Self {
            heap: BinaryHeap::new(),
            began,
        }
    }

    pub fn arm(&mut self, at: Instant, token: u64) {
        let nanos = at.saturating_duration_since(self.began).as_nanos();
        // 64 bits of nanoseconds last for five centuries.
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.heap.push(Reverse((nanos, token)));
    }

    /// The earliest armed instant.
    pub fn next(&self) -> Option<Instant> {
        let Reverse((nanos, _)) = self.heap.peek()?;
        Some(self.began + Duration::from_nanos(*nanos))
    }

    /// Takes one entry that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, u64)> {
        let at = self.next().filter(|at| *at <= now)?;
        let Reverse((_, token)) = self.heap.pop()?;
        Some((at, token))
    }
}

/// The time until the first of these instants; `None`: there is none.
pub fn time_until_first(
    instants: impl Iterator<Item = Option<Instant>>,
    now: Instant,
) -> Option<Duration> {
    let first = instants.flatten().min()?;
    Some(first.saturating_duration_since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_are_returned_in_order_and_none_early() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        for (seconds, token) in [(3, 30), (1, 10), (2, 20), (1, 11)] {
            timers.arm(start + Duration::from_secs(seconds), token);
        }
        assert!(timers.pop_due(start).is_none());
        let at_two = start + Duration::from_secs(2);
        let due: Vec<u64> = std::iter::from_fn(|| timers.pop_due(at_two))
            .map(|(_, token)| token)
            .collect();
        assert_eq!(due, [10, 11, 20]);
        assert_eq!(timers.next(), Some(start + Duration::from_secs(3)));
    }

    #[test]
    fn the_poller_waits_until_the_first_instant_or_without_limit() {
        let now = Instant::now() + Duration::from_secs(100);
        let at = |millis| Some(now + Duration::from_millis(millis));
        let past = now.checked_sub(Duration::from_secs(9));
        for (instants, millis) in [
            ([None, None, None], None),
            ([None, at(50), None], Some(50)),
            ([at(70), at(50), at(60)], Some(50)),
            ([at(70), past, None], Some(0)),
        ] {
            let found = time_until_first(instants.into_iter(), now);
            assert_eq!(found, millis.map(Duration::from_millis), "{instants:?}");
        }
    }
}
