//! The page as an operator sees it: each worker with its numbers and the requests that its threads run.

use super::{Call, Page, Totals};

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It accepts connections.
    Serving,
    /// It finishes its requests and accepts no more connections.
    Draining,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Serving, Self::Draining];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

/// A live worker, according to the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    /// Its slot.
    pub slot: usize,
    /// How many workers have served in this slot, this one included.
    pub generation: u64,
    /// Its process id.
    pub pid: u64,
    /// What it is doing.
    pub state: State,
    /// Nanoseconds of the monotonic clock when it started.
    pub started: u64,
    /// Connections that it holds.
    pub connections: u64,
    /// Requests that became ready since it started.
    pub requests: u64,
    /// How many requests it may run at once; 0 if not recorded.
    pub threads: u64,
    /// Requests that wait for a thread.
    pub waiting: u64,
    /// What the workers of this slot have counted.
    pub totals: Totals,
    /// Those of its threads that have a line.
    pub calls: Vec<Call>,
}

impl WorkerView {
    /// How many threads run a request.
    pub fn busy(&self) -> usize {
        self.calls
            .iter()
            .filter(|call| call.request.is_some())
            .count()
    }
}

impl Page {
    /// The workers that are alive, by slot.
    pub fn workers(self) -> impl Iterator<Item = WorkerView> {
        (0..self.taken().min(Self::MOST_WORKERS)).filter_map(move |slot| self.worker(slot))
    }

    /// The worker of this slot: its current state, or the last one before it died, until [`Page::clear`].
    pub fn worker(self, slot: usize) -> Option<WorkerView> {
        let ledger = self.ledger(slot)?;
        let record = self.record(slot)?;
        let pid = ledger.pid();
        let life = record.word(super::LIFE);
        let state = match life & 1 {
            1 => State::Serving,
            _ => State::Draining,
        };
        (pid != 0).then(|| WorkerView {
            slot,
            generation: life >> 1,
            pid,
            state,
            started: ledger.started(),
            connections: record.word(super::CONNECTIONS),
            requests: record.word(super::REQUESTS),
            threads: ledger.threads(),
            waiting: ledger.waiting(),
            totals: ledger.totals(),
            calls: ledger.lines().filter_map(super::Line::read).collect(),
        })
    }

    /// The requests that a worker's threads ran when it died, oldest first; to be called before [`Page::clear`].
    pub fn unfinished(self, slot: usize, pid: u32) -> Vec<Call> {
        let ledger = self
            .ledger(slot)
            .filter(|ledger| ledger.pid() == u64::from(pid));
        let lines = ledger.iter().flat_map(super::Ledger::lines);
        let mut calls: Vec<Call> = lines
            .filter_map(super::Line::read)
            .filter(|call| call.request.is_some())
            .collect();
        calls.sort_by_key(|call| call.request.as_ref().map(|request| request.began));
        calls
    }

    /// The sums of all workers of this slot, past and present.
    pub fn totals_of(self, slot: usize) -> Option<Totals> {
        self.ledger(slot).map(|ledger| ledger.totals())
    }

    /// The sums of all workers, including dead ones.
    pub fn totals(self) -> Totals {
        let mut totals = Totals::default();
        (0..self.taken().min(Self::MOST_WORKERS))
            .filter_map(|slot| self.ledger(slot))
            .for_each(|ledger| totals.add(&ledger.totals()));
        totals
    }

    /// How many workers have ever served.
    pub fn starts(self) -> u64 {
        (0..self.taken().min(Self::MOST_WORKERS))
            .filter_map(|slot| Some(self.record(slot)?.word(super::LIFE) >> 1))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    use crate::page::Response;

    fn page() -> Page {
        Page::new(Vec::leak(
            (0..Page::WORDS).map(|_| AtomicU64::new(0)).collect(),
        ))
    }

    #[test]
    fn a_worker_serves_drains_and_is_gone_but_its_counters_stay() {
        let page = page();
        assert_eq!(page.workers().count(), 0);
        let seat = page.seat(2).unwrap();
        seat.enter();
        let ledger = seat.ledger().unwrap();
        ledger.open(77, 1000);
        ledger
            .claim(78, 0)
            .unwrap()
            .begin(5, b"GET", b"/x", Some(b""));
        ledger.claim(79, 0).unwrap();
        ledger.claim(80, 0).unwrap().begin(3, b"POST", b"/y", None);
        seat.publish(4, 9);
        ledger.note_response(Response {
            status: 200,
            bytes: 10,
            duration: Some(5),
        });
        let worker = page.workers().next().unwrap();
        assert_eq!((worker.slot, worker.pid, worker.generation), (2, 77, 1));
        assert_eq!((worker.state, worker.connections), (State::Serving, 4));
        assert_eq!((worker.calls.len(), worker.busy()), (3, 2));
        let threads = |pid| {
            let calls = page.unfinished(2, pid).into_iter();
            calls.map(|call| call.thread).collect::<Vec<_>>()
        };
        assert_eq!(threads(77), [80, 78]);
        assert!(threads(76).is_empty(), "another worker's");
        seat.leave();
        assert_eq!(page.workers().next().unwrap().state, State::Draining);
        page.clear(2);
        assert_eq!(page.workers().count(), 0);
        assert!(threads(77).is_empty());
        assert_eq!(page.totals().classes[1], 1);
        assert_eq!(page.totals_of(2), Some(page.totals()));
        assert_eq!(page.starts(), 1);
    }

    #[test]
    fn the_last_worker_has_its_place_and_one_more_has_none() {
        let page = page();
        assert!(page.ledger(Page::MOST_WORKERS - 1).is_some());
        assert!(page.ledger(Page::MOST_WORKERS).is_none());
        assert!(page.seat(Page::MOST_WORKERS).is_none());
    }
}
