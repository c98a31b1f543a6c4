//! Requests that the crew keeps because nobody may run them for now. Knows neither when nor why they are given up.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Crew;
use crate::queue::{GivenUp, Job, Order};

impl Crew {
    /// Keeps a request for the first thread that comes free. Returns it when somebody stands by after all.
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

    /// A request that was kept, the oldest first unless clients have been leaving.
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

    /// Whether a leader has a kept request that a thread may run now.
    pub fn can_take_back(&self) -> bool {
        self.backlog_len.load(Ordering::SeqCst) > 0 && self.may_call()
    }

    /// How many requests are kept.
    pub fn kept(&self) -> usize {
        self.backlog_len.load(Ordering::Relaxed)
    }

    /// Since when the oldest of them waits.
    pub fn oldest_kept(&self) -> Option<Instant> {
        if self.kept() == 0 {
            return None;
        }
        self.roster().backlog.oldest()
    }

    /// Takes out the kept requests that are not worth a call any more; see [`Queue::give_up`](crate::queue::Queue::give_up).
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

    /// From which end waiting requests are taken.
    pub fn order(&self) -> &Order {
        &self.order
    }
}
