//! The records of workers' further event loops: each has a record, counters and entries of its own, so that two event
//! loops of a process write no common cache line. A worker's numbers are the sums of its event loops.
//!
//! Invariant: a record stays with its slot and event loop for as long as the scoreboard exists, so that the sums of a
//! slot never fall. Records are taken in their order, and none becomes free again.

use std::sync::atomic::{AtomicU64, Ordering};

use super::counters::WorkerCounters;
use super::{
    Counts, EACH_COUNTERS, FURTHER, MOST_FURTHER, PREFIX, RECORD, Record, Scoreboard, WorkerSlot,
};

/// Offset of the first record from the part's first word, which is the number of records ever taken.
const RECORDS: usize = RECORD;
/// Offset of the counters.
const COUNTERS: usize = RECORDS + RECORD * MOST_FURTHER;
/// In bytes.
const CACHE_LINE: usize = RECORD * size_of::<AtomicU64>();
/// The word of a record that names its owner; 0: it is free.
const OWNER: usize = RECORD - 1;

/// A further event loop.
pub(super) struct Further {
    pub(super) record: Record,
    pub(super) counters: WorkerCounters,
}

impl WorkerSlot {
    /// The record of another event loop of this worker, by its number from 1. `None`: there is no room for one.
    pub fn event_loop(&self, number: usize) -> Option<Self> {
        let owner = (self.slot as u64 + 1) << 32 | number as u64;
        let taken = self.scoreboard.words.get(FURTHER)?;
        (0..MOST_FURTHER).find_map(|index| {
            let further = self.scoreboard.further(index)?;
            let word = &further.record.0[OWNER];
            let claimed = word.compare_exchange(0, owner, Ordering::AcqRel, Ordering::Acquire);
            if claimed.is_err_and(|present| present != owner) {
                return None;
            }
            taken.fetch_max(index as u64 + 1, Ordering::Release);
            Some(Self {
                scoreboard: self.scoreboard,
                slot: self.slot,
                place: Scoreboard::MOST_WORKERS + index,
                record: further.record,
                counters: Some(further.counters),
            })
        })
    }
}

impl Scoreboard {
    /// A scoreboard of this process alone, on which each event loop is a worker and sees the others. Its memory is never freed.
    pub fn without_counters(workers: usize) -> Self {
        let needed = PREFIX + RECORD * workers;
        // The allocator aligns to less than a cache line.
        let words = (0..needed + RECORD - 1).map(|_| AtomicU64::new(0));
        let words: &[AtomicU64] = Vec::leak(words.collect());
        let start = words.as_ptr().align_offset(CACHE_LINE);
        Self::new(words.get(start..start + needed).unwrap_or(words))
    }

    /// The further event loops that accept connections now: their places and counts.
    pub(super) fn further_serving(self) -> impl Iterator<Item = (usize, Counts)> + Clone {
        (0..self.further_taken()).filter_map(move |index| {
            let counts = self.further(index)?.record.counts()?;
            Some((Self::MOST_WORKERS + index, counts))
        })
    }

    /// The requests of all event loops of the worker that accepts connections in this slot.
    pub fn requests_of(self, slot: usize) -> Option<u64> {
        let first = self.record(slot)?.counts()?;
        let further = self.further_of(slot);
        let further = further.filter_map(|further| further.record.counts());
        Some(further.fold(first.requests, |sum, counts| sum + counts.requests))
    }

    /// The further event loops that workers of this slot have or had.
    pub(super) fn further_of(self, slot: usize) -> impl Iterator<Item = Further> {
        (0..self.further_taken())
            .filter_map(move |index| self.further(index))
            .filter(move |further| further.record.word(OWNER) >> 32 == slot as u64 + 1)
    }

    fn further_taken(self) -> usize {
        let taken = self.words.get(FURTHER);
        let taken = taken.map_or(0, |word| word.load(Ordering::Acquire));
        usize::try_from(taken).map_or(MOST_FURTHER, |taken| taken.min(MOST_FURTHER))
    }

    fn further(self, index: usize) -> Option<Further> {
        let record = FURTHER + RECORDS + index * RECORD;
        let counters = FURTHER + COUNTERS + index * EACH_COUNTERS;
        Some(Further {
            record: Record(self.words.get(record..record + RECORD)?),
            counters: WorkerCounters::over(self.words.get(counters..counters + EACH_COUNTERS)?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Response;

    fn scoreboard() -> Scoreboard {
        let words = (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0)).collect();
        Scoreboard::new(Vec::leak(words))
    }

    fn sent(counters: WorkerCounters, count: u64) {
        for _ in 0..count {
            counters.record_response(Response {
                status: 200,
                bytes: 10,
                duration: Some(1000),
            });
        }
    }

    /// A worker of `loops` event loops in this slot, each with `held` connections and as many responses.
    fn serve(scoreboard: Scoreboard, slot: usize, pid: u32, held: &[u64]) -> Vec<WorkerSlot> {
        let first = scoreboard.worker_slot(slot).unwrap();
        let further: Vec<_> = (1..held.len())
            .map(|number| first.event_loop(number).unwrap())
            .collect();
        let all: Vec<_> = std::iter::once(first).chain(further).collect();
        for (one, held) in all.iter().zip(held) {
            one.enter();
            one.publish(*held, 2 * held);
            let counters = one.counters().unwrap();
            counters.open(pid, 5);
            counters.record_threads(4);
            counters.claim(held + 1, 0).unwrap();
            sent(counters, *held);
        }
        all
    }

    #[test]
    fn the_numbers_of_a_worker_are_the_sums_of_its_event_loops() {
        let scoreboard = scoreboard();
        serve(scoreboard, 3, 77, &[5, 7, 11]);
        serve(scoreboard, 4, 88, &[1, 2]);
        let found: Vec<_> = (scoreboard.workers())
            .map(|worker| {
                let calls = worker.calls.len();
                let numbers = (worker.connections, worker.requests, worker.threads, calls);
                (worker.slot, worker.pid, numbers, worker.totals.sent)
            })
            .collect();
        let expected = [(3, 77, (23, 46, 12, 3), 230), (4, 88, (3, 6, 8, 2), 30)];
        assert_eq!(found, expected);
        assert_eq!(scoreboard.totals().sent, 260);
        let requests = [3, 4, 5].map(|slot| scoreboard.requests_of(slot));
        assert_eq!(requests, [Some(46), Some(6), None]);
        assert_eq!(
            scoreboard.entries(3).count(),
            3 * scoreboard.entries(9).count()
        );
        assert_eq!((scoreboard.starts(), scoreboard.serving().count()), (2, 2));
    }

    #[test]
    fn event_loops_see_all_others_as_siblings() {
        let scoreboard = scoreboard();
        let all = serve(scoreboard, 0, 77, &[5, 7]);
        serve(scoreboard, 1, 88, &[11, 13]);
        for (one, expected) in all.iter().zip([[11, 7, 13], [5, 11, 13]]) {
            let found: Vec<_> = one
                .siblings()
                .map(|(_, counts)| counts.connections)
                .collect();
            assert_eq!(found, expected);
        }
        all[1].leave();
        assert_eq!(all[0].siblings().count(), 2);
    }

    #[test]
    fn sums_of_a_slot_never_fall_when_workers_come_with_other_numbers_of_event_loops() {
        let scoreboard = scoreboard();
        let mut sent = 0;
        for (pid, held) in [(1, &[1, 2, 3][..]), (2, &[4]), (3, &[5, 6])] {
            serve(scoreboard, 0, pid, held);
            sent += 10 * held.iter().sum::<u64>();
            let worker = scoreboard.worker(0).unwrap();
            assert_eq!(worker.totals.sent, sent, "{pid}");
            assert_eq!(worker.connections, held.iter().sum::<u64>(), "{pid}");
            assert_eq!(worker.calls.len(), held.len(), "{pid}");
            scoreboard.clear(0);
            assert_eq!(
                scoreboard.totals_of(0).map(|totals| totals.sent),
                Some(sent)
            );
            assert_eq!(scoreboard.further_serving().count(), 0);
            assert_eq!(scoreboard.requests_of(0), None);
        }
        assert_eq!(scoreboard.further_taken(), 2, "their places are used again");
    }

    #[test]
    fn an_event_loop_without_room_has_no_record() {
        let scoreboard = scoreboard();
        let first = scoreboard.worker_slot(0).unwrap();
        assert!((1..=MOST_FURTHER).all(|number| first.event_loop(number).is_some()));
        assert!(first.event_loop(MOST_FURTHER + 1).is_none());
        assert!(
            first.event_loop(MOST_FURTHER).is_some(),
            "it has one already"
        );
        let other = scoreboard.worker_slot(1).unwrap();
        assert!(other.event_loop(1).is_none());
        let small = Scoreboard::new(Vec::leak((0..64).map(|_| AtomicU64::new(0)).collect()));
        assert!(small.worker_slot(0).unwrap().event_loop(1).is_none());
    }
}
