//! The scoreboard as an operator sees it: each worker with its numbers and the requests that its threads run.

use super::{Call, Record, Scoreboard, ThreadEntry, Totals, WorkerCounters};

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

/// A live worker, according to the scoreboard.
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
    /// Calls that have taken their connection over, each on a thread beyond `threads`.
    pub websockets: u64,
    /// Requests that are held for published messages.
    pub held: u64,
    /// What the workers of this slot have counted.
    pub totals: Totals,
    /// Those of its threads that have an entry.
    pub calls: Vec<Call>,
}

impl WorkerView {
    /// Adds the numbers of a further event loop.
    fn add(&mut self, record: &Record, counters: &WorkerCounters) {
        self.connections += record.word(super::CONNECTIONS);
        self.requests += record.word(super::REQUESTS);
        self.threads += counters.threads();
        self.waiting += counters.waiting();
        self.websockets += counters.upgraded();
        self.held += counters.held();
    }

    /// How many threads run a request, without those of WebSockets.
    pub fn busy(&self) -> usize {
        let requests = self.calls.iter().filter(|call| call.request.is_some());
        requests.filter(|call| !call.is_upgraded()).count()
    }

    /// How many threads there are for requests, without those of WebSockets.
    pub fn pool(&self) -> usize {
        let calls = self.calls.iter();
        calls.filter(|call| !call.is_upgraded()).count()
    }
}

impl Scoreboard {
    /// The workers that are alive, by slot.
    pub fn workers(self) -> impl Iterator<Item = WorkerView> {
        (0..self.taken().min(Self::MOST_WORKERS)).filter_map(move |slot| self.worker(slot))
    }

    /// The worker of this slot: its current state, or the last one before it died, until [`Scoreboard::clear`].
    pub fn worker(self, slot: usize) -> Option<WorkerView> {
        let counters = self.counters(slot)?;
        let record = self.record(slot)?;
        let pid = counters.pid();
        let life = record.word(super::LIFE);
        let state = match life & 1 {
            1 => State::Serving,
            _ => State::Draining,
        };
        if pid == 0 {
            return None;
        }
        let mut worker = WorkerView {
            slot,
            generation: life >> 1,
            pid,
            state,
            started: counters.started(),
            connections: record.word(super::CONNECTIONS),
            requests: record.word(super::REQUESTS),
            threads: counters.threads(),
            waiting: counters.waiting(),
            websockets: counters.upgraded(),
            held: counters.held(),
            totals: counters.totals(),
            calls: counters
                .entries()
                .filter_map(|entry| self.read(entry))
                .collect(),
        };
        for further in self.further_of(slot) {
            worker.totals.add(&further.counters.totals());
            // A predecessor may have had more event loops.
            if further.counters.pid() == pid {
                worker.add(&further.record, &further.counters);
                let calls = further.counters.entries();
                worker
                    .calls
                    .extend(calls.filter_map(|entry| self.read(entry)));
            }
        }
        Some(worker)
    }

    /// The counters of all event loops that workers of this slot have or had.
    fn all_counters(self, slot: usize) -> impl Iterator<Item = WorkerCounters> {
        let further = self.further_of(slot).map(|further| further.counters);
        self.counters(slot).into_iter().chain(further)
    }

    /// The requests that are running: the slot and the process of the worker, and the call. Costs one word for each idle
    /// thread, so that it can be called often.
    pub fn running(self) -> impl Iterator<Item = (usize, u64, Call)> {
        let slots = 0..self.taken().min(Self::MOST_WORKERS);
        let counters = slots.flat_map(move |slot| {
            let all = self.all_counters(slot);
            all.map(move |counters| (slot, counters))
        });
        let alive = counters.filter(|(_, counters)| counters.pid() != 0);
        alive.flat_map(move |(slot, counters)| {
            let pid = counters.pid();
            let busy = counters.entries().filter(|entry| entry.is_busy());
            let calls = busy.filter_map(move |entry| self.read(entry));
            calls.map(move |call| (slot, pid, call))
        })
    }

    /// What a thread runs, as it is shown.
    fn read(self, entry: ThreadEntry) -> Option<Call> {
        let mut call = entry.read()?;
        if let (true, Some(request)) = (self.hides_queries, &mut call.request) {
            request.remove_query();
        }
        Some(call)
    }

    /// The entries of the threads of the worker of this slot.
    pub fn entries(self, slot: usize) -> impl Iterator<Item = ThreadEntry> {
        self.all_counters(slot)
            .flat_map(|counters| counters.entries())
    }

    /// The requests that a worker's threads ran when it died, oldest first; to be called before [`Scoreboard::clear`].
    pub fn in_flight(self, slot: usize, pid: u32) -> Vec<Call> {
        let entries = self
            .all_counters(slot)
            .filter(|counters| counters.pid() == u64::from(pid))
            .flat_map(|counters| counters.entries());
        let mut calls: Vec<Call> = entries
            .filter_map(|entry| self.read(entry))
            .filter(|call| call.request.is_some())
            .collect();
        calls.sort_by_key(|call| call.request.as_ref().map(|request| request.began));
        calls
    }

    /// The sums of all workers of this slot, past and present.
    pub fn totals_of(self, slot: usize) -> Option<Totals> {
        let mut totals = self.counters(slot)?.totals();
        for further in self.further_of(slot) {
            totals.add(&further.counters.totals());
        }
        Some(totals)
    }

    /// The sums of all workers, including dead ones.
    pub fn totals(self) -> Totals {
        let mut totals = Totals::default();
        (0..self.taken().min(Self::MOST_WORKERS))
            .filter_map(|slot| self.totals_of(slot))
            .for_each(|one| totals.add(&one));
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

    use crate::scoreboard::Response;

    fn scoreboard() -> Scoreboard {
        Scoreboard::new(Vec::leak(
            (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0)).collect(),
        ))
    }

    #[test]
    fn a_worker_serves_drains_and_is_gone_but_its_counters_stay() {
        let scoreboard = scoreboard();
        assert_eq!(scoreboard.workers().count(), 0);
        let worker_slot = scoreboard.worker_slot(2).unwrap();
        worker_slot.enter();
        let counters = worker_slot.counters().unwrap();
        counters.open(77, 1000);
        counters
            .claim(78, 0)
            .unwrap()
            .begin(5 << 10, b"GET", b"/x", Some(b""), b"");
        counters.claim(79, 0).unwrap();
        counters
            .claim(80, 0)
            .unwrap()
            .begin(3 << 10, b"POST", b"/y", None, b"");
        worker_slot.publish(4, 9);
        counters.record_response(Response {
            status: 200,
            bytes: 10,
            duration: Some(5),
        });
        let worker = scoreboard.workers().next().unwrap();
        assert_eq!((worker.slot, worker.pid, worker.generation), (2, 77, 1));
        assert_eq!((worker.state, worker.connections), (State::Serving, 4));
        assert_eq!((worker.pool(), worker.busy()), (3, 2));
        let websocket = counters.claim(81, 0).unwrap();
        websocket.begin(9 << 10, b"GET", b"/z", None, b"");
        assert!(counters.begin_upgraded(Some(websocket)));
        let worker = scoreboard.workers().next().unwrap();
        assert_eq!((worker.pool(), worker.busy()), (3, 2));
        assert_eq!((worker.calls.len(), worker.websockets), (4, 1));
        websocket.release();
        let threads = |pid| {
            let calls = scoreboard.in_flight(2, pid).into_iter();
            calls.map(|call| call.thread).collect::<Vec<_>>()
        };
        assert_eq!(threads(77), [80, 78]);
        assert!(threads(76).is_empty(), "another worker's");
        let running = scoreboard
            .running()
            .map(|(slot, pid, call)| (slot, pid, call.thread));
        assert_eq!(running.collect::<Vec<_>>(), [(2, 77, 78), (2, 77, 80)]);
        worker_slot.leave();
        assert_eq!(scoreboard.workers().next().unwrap().state, State::Draining);
        scoreboard.clear(2);
        assert_eq!(scoreboard.workers().count(), 0);
        assert_eq!(scoreboard.running().count(), 0);
        assert!(threads(77).is_empty());
        assert_eq!(scoreboard.totals().classes[1], 1);
        assert_eq!(scoreboard.totals_of(2), Some(scoreboard.totals()));
        assert_eq!(scoreboard.starts(), 1);
    }

    #[test]
    fn queries_are_shown_only_by_the_scoreboard_that_has_them() {
        let scoreboard = scoreboard();
        let worker_slot = scoreboard.worker_slot(0).unwrap();
        worker_slot.enter();
        let counters = worker_slot.counters().unwrap();
        counters.open(77, 1000);
        let entry = counters.claim(78, 0).unwrap();
        entry.begin(5, b"GET", b"/reset?token=secret", None, b"");
        for (scoreboard, target) in [
            (scoreboard, &b"/reset?token=secret"[..]),
            (scoreboard.without_queries(), b"/reset"),
        ] {
            let running = scoreboard.worker(0).unwrap().calls;
            let died = scoreboard.in_flight(0, 77);
            let busy = scoreboard.running().map(|(_, _, call)| call);
            for call in running.into_iter().chain(died).chain(busy) {
                assert_eq!(call.request.unwrap().target, target);
            }
        }
    }

    #[test]
    fn only_the_first_most_workers_slots_exist() {
        let scoreboard = scoreboard();
        assert!(scoreboard.counters(Scoreboard::MOST_WORKERS - 1).is_some());
        assert!(scoreboard.counters(Scoreboard::MOST_WORKERS).is_none());
        assert!(scoreboard.worker_slot(Scoreboard::MOST_WORKERS).is_none());
    }
}
