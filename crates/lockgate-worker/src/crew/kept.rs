//! The thread pool's backlog: requests kept because no thread may run them for now.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Crew;
use crate::queue::{GivenUp, Job, Order};

impl Crew {
    /// Keeps a request for the next free thread. Returns it if a standby has become available.
    pub fn put_back(&self, mut job: Job) -> Option<Job> {
        let mut roster = self.roster();
        let may_call = !self.is_one_waiting.load(Ordering::Relaxed) && !self.has_to_wait();
        if roster.standby.is_some() && may_call {
            return Some(job);
        }
        job.was_kept = true;
        roster.backlog.push(job);
        self.backlog_len
            .store(roster.backlog.len(), Ordering::SeqCst);
        None
    }

    /// Takes a kept request, the oldest first unless clients have been leaving.
    pub fn take_back(&self) -> Option<Job> {
        if self.backlog_len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut roster = self.roster();
        let job = roster.backlog.take(&self.order);
        self.backlog_len
            .store(roster.backlog.len(), Ordering::SeqCst);
        job
    }

    /// Whether there is a kept request that a thread may run now. For the leader.
    pub fn can_take_back(&self) -> bool {
        self.backlog_len.load(Ordering::SeqCst) > 0 && self.may_call()
    }

    /// Number of kept requests.
    pub fn kept(&self) -> usize {
        self.backlog_len.load(Ordering::Relaxed)
    }

    /// When the oldest of them was complete.
    pub fn oldest_kept(&self) -> Option<Instant> {
        if self.kept() == 0 {
            return None;
        }
        self.roster().backlog.oldest()
    }

    /// Takes out the kept requests not worth a call any more; see [`Queue::give_up`](crate::queue::Queue::give_up).
    pub fn give_up_kept(
        &self,
        now: Instant,
        limit: Option<Duration>,
        into: &mut Vec<(Job, GivenUp)>,
    ) -> Option<Instant> {
        if self.kept() == 0 {
            return None;
        }
        let mut roster = self.roster();
        let look_again = roster.backlog.give_up(now, limit, into);
        self.backlog_len
            .store(roster.backlog.len(), Ordering::SeqCst);
        look_again
    }

    /// The queue discipline: from which end waiting requests are taken.
    pub fn order(&self) -> &Order {
        &self.order
    }
}
