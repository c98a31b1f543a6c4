//! Bulkheads: how many requests of a route may have a thread of this worker at the same time. The others wait in a queue
//! of their own, and requests of other routes are taken past them.
//!
//! Invariants: a request is in the queue for threads, or in a call, only with a place in each bulkhead that it is in; no
//! request waits here while all of these have a free place. A place is given back when the [`Place`] is dropped: the
//! request has ended in any way, or its call has taken the connection over.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::exchange::Exchange;
use crate::exchange::place::{Place, Places};
use crate::exchange::queue::{LongestWait, Queue};
use crate::exchange::route_limits::RouteLimits;
use crate::exchange::writer::DropReason;
use crate::thread_pool::ThreadPool;

/// See the module documentation.
pub struct Bulkheads {
    limits: Arc<RouteLimits>,
    /// Maximum number of requests that wait for the same places (`queue_size`).
    queue_size: usize,
    state: Mutex<State>,
    /// Number of requests that wait.
    waiting: AtomicUsize,
    pool: Arc<ThreadPool>,
    /// Wakes the event loop, for requests that have got a place.
    wake: Box<dyn Fn() + Send + Sync>,
}

struct State {
    /// Places that are taken, by bulkhead.
    taken: Vec<usize>,
    /// Requests that wait, by combination of bulkheads.
    queues: Vec<Queue>,
}

/// Whether a request may be queued for a thread.
pub enum Entry {
    /// It has its places, if it needs any.
    Admitted(Exchange),
    /// It waits for a place.
    Waiting,
    /// Too many others wait for the same places.
    Full(Exchange),
}

impl Bulkheads {
    /// Of a worker.
    pub fn new(
        limits: Arc<RouteLimits>,
        queue_size: usize,
        pool: Arc<ThreadPool>,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let state = State {
            taken: vec![0; limits.places().len()],
            queues: limits.chains().iter().map(|_| Queue::default()).collect(),
        };
        Self {
            limits,
            queue_size,
            state: Mutex::new(state),
            waiting: AtomicUsize::new(0),
            pool,
            wake,
        }
    }

    /// The limits of the routes.
    pub fn limits(&self) -> &RouteLimits {
        &self.limits
    }

    /// Takes the places that a complete request needs, or keeps the request until they are free.
    pub fn enter(self: &Arc<Self>, mut exchange: Exchange) -> Entry {
        let limit = self.limits.of_request(&exchange.request);
        exchange.priority = limit.priority;
        let Some(chain) = limit.chain else {
            return Entry::Admitted(exchange);
        };
        let mut state = self.lock();
        if state.take_places(chain, &self.limits) {
            drop(state);
            exchange.request.admitted.place = Some(self.place(chain));
            return Entry::Admitted(exchange);
        }
        let queue = &mut state.queues[usize::from(chain)];
        if queue.len() >= self.queue_size {
            return Entry::Full(exchange);
        }
        queue.push(exchange);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Entry::Waiting
    }

    /// Number of requests that wait for a place.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Since when the oldest of them waits.
    pub fn oldest(&self) -> Option<Instant> {
        if self.waiting() == 0 {
            return None;
        }
        self.lock().queues.iter().filter_map(Queue::oldest).min()
    }

    /// As [`Queue::drop_requests`].
    pub fn drop_requests(
        &self,
        now: Instant,
        limit: LongestWait<'_>,
        into: &mut Vec<(Exchange, DropReason)>,
    ) -> Option<Instant> {
        if self.waiting() == 0 {
            return None;
        }
        let mut state = self.lock();
        let before = into.len();
        let queues = state.queues.iter_mut();
        let check_again = queues.filter_map(|queue| queue.drop_requests(now, limit, into));
        let check_again = check_again.min();
        self.waiting
            .fetch_sub(into.len() - before, Ordering::Relaxed);
        check_again
    }

    fn place(self: &Arc<Self>, chain: u16) -> Place {
        Place::new(Arc::clone(self) as Arc<dyn Places>, chain)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only an allocation can panic under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places for Bulkheads {
    /// Queues the requests that have waited for these places.
    fn give_back(self: Arc<Self>, chain: u16) {
        let mut state = self.lock();
        state.give_back(chain, &self.limits);
        let mut has_admitted = false;
        while let Some((chain, mut exchange)) = state.take_waiting(&self.limits, &self.pool) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            exchange.request.admitted.place = Some(self.place(chain));
            self.pool.queue(exchange);
            has_admitted = true;
        }
        drop(state);
        if has_admitted {
            // This thread may be about to take one of them, or to go on with its own call.
            (self.wake)();
        }
    }
}

impl State {
    /// Takes a place in each bulkhead of a combination, or none.
    fn take_places(&mut self, chain: u16, limits: &RouteLimits) -> bool {
        let chain = &limits.chains()[usize::from(chain)];
        let has_room = chain.iter().map(|&index| usize::from(index)).all(|index| {
            let places = limits.places()[index];
            self.taken[index] < places
        });
        if has_room {
            for &index in chain {
                self.taken[usize::from(index)] += 1;
            }
        }
        has_room
    }

    fn give_back(&mut self, chain: u16, limits: &RouteLimits) {
        for &index in &limits.chains()[usize::from(chain)] {
            self.taken[usize::from(index)] -= 1;
        }
    }

    /// Takes the places for a request that waits, and the request: of the highest priority, and of these the one whose
    /// queue has waited for the longest time.
    fn take_waiting(&mut self, limits: &RouteLimits, pool: &ThreadPool) -> Option<(u16, Exchange)> {
        let mut queues: Vec<(u16, &Queue)> = (0..).zip(&self.queues).collect();
        queues.retain(|(_, queue)| !queue.is_empty());
        queues.sort_by_key(|(_, queue)| (Reverse(queue.priority()), queue.oldest()));
        let order: Vec<u16> = queues.into_iter().map(|(chain, _)| chain).collect();
        let chain = order
            .into_iter()
            .find(|&chain| self.take_places(chain, limits))?;
        let exchange = self.queues[usize::from(chain)].take(pool.discipline())?;
        Some((chain, exchange))
    }
}

#[cfg(test)]
mod tests;
