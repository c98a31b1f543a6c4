//! The thread pool's backlog: requests that wait because no thread may run them for now.

use std::sync::atomic::Ordering;
use std::time::Instant;

use lockgate_config::Priority;

use super::ThreadPool;
use crate::exchange::Exchange;
use crate::exchange::queue::{LongestWait, QueueDiscipline};
use crate::exchange::writer::DropReason;

impl ThreadPool {
    /// Puts a request into the backlog. Returns it if a follower has become available.
    pub fn put_back(&self, mut exchange: Exchange) -> Option<Exchange> {
        let mut state = self.lock();
        let may_call = !self.is_gil_awaited.load(Ordering::Relaxed) && !self.has_to_wait();
        if state.follower.is_some() && may_call {
            return Some(exchange);
        }
        exchange.was_in_backlog = true;
        state.backlog.push(exchange);
        self.backlog_len
            .store(state.backlog.len(), Ordering::SeqCst);
        None
    }

    /// Puts a request into the backlog that had to wait before it could be queued for a thread. The caller wakes the
    /// event loop.
    pub fn queue(&self, mut exchange: Exchange) {
        let mut state = self.lock();
        exchange.was_in_backlog = true;
        state.backlog.push(exchange);
        self.backlog_len
            .store(state.backlog.len(), Ordering::SeqCst);
    }

    /// The highest priority of the requests in the backlog.
    pub fn backlog_priority(&self) -> Option<Priority> {
        if self.backlog_len() == 0 {
            return None;
        }
        self.lock().backlog.priority()
    }

    /// Takes a request in the backlog, the oldest first unless clients have been leaving.
    pub fn take_from_backlog(&self) -> Option<Exchange> {
        if self.backlog_len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut state = self.lock();
        let exchange = state.backlog.take(&self.discipline);
        self.backlog_len
            .store(state.backlog.len(), Ordering::SeqCst);
        exchange
    }

    /// Whether there is a request in the backlog that a thread may run now. For the leader.
    pub fn can_take_from_backlog(&self) -> bool {
        self.backlog_len.load(Ordering::SeqCst) > 0 && self.may_call()
    }

    /// Number of requests in the backlog.
    pub fn backlog_len(&self) -> usize {
        self.backlog_len.load(Ordering::Relaxed)
    }

    /// When the oldest of them was complete.
    #[inline]
    pub fn oldest_in_backlog(&self) -> Option<Instant> {
        if self.backlog_len() == 0 {
            return None;
        }
        self.oldest_of_backlog()
    }

    fn oldest_of_backlog(&self) -> Option<Instant> {
        self.lock().backlog.oldest()
    }

    /// Takes out the requests that are no longer worth a call; see
    /// [`Queue::drop_requests`](crate::exchange::queue::Queue::drop_requests).
    pub fn drop_from_backlog(
        &self,
        now: Instant,
        limit: LongestWait<'_>,
        into: &mut Vec<(Exchange, DropReason)>,
    ) -> Option<Instant> {
        if self.backlog_len() == 0 {
            return None;
        }
        let mut state = self.lock();
        let check_again = state.backlog.drop_requests(now, limit, into);
        self.backlog_len
            .store(state.backlog.len(), Ordering::SeqCst);
        check_again
    }

    /// The queue discipline: from which end waiting requests are taken.
    pub fn discipline(&self) -> &QueueDiscipline {
        &self.discipline
    }
}
