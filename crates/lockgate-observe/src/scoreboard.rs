//! The scoreboard: what each worker reports to its siblings and to the operator, in memory that all
//! processes of a server share. The caller provides the memory.
//!
//! A reader may see one worker's numbers a moment late, so they may serve heuristics only.
//!
//! Layout: one record per worker, adjacent because siblings read all of them for each connection; then per worker a
//! [`WorkerCounters`] and its entries, which only an operator reads; then the state of the last reload, the numbers
//! of worker exits by cause, the switch for maintenance, and the same again for the further event loops of workers.

mod counters;
mod event_loops;
mod exits;
mod histogram;
mod lost_lines;
mod maintenance;
mod reload;
mod thread_entry;
mod view;

use std::sync::atomic::{AtomicU64, Ordering};

pub use counters::{HandshakeResult, HeldEnd, Loss, Response, Totals, WorkerCounters};
pub use exits::ExitCause;
pub use histogram::{BOUNDS, BUCKETS, FIRST_WAIT};
pub use lost_lines::LossyLog;
pub use maintenance::Maintenance;
pub use reload::{ReloadState, ReloadView};
pub use thread_entry::{Call, Running, ThreadEntry};
pub use view::{State, WorkerView};

use crate::statsd::LogCounts;
use counters::COUNTERS;
use thread_entry::{ENTRIES, ENTRY};

/// Words of a record: a cache line of its own, so that counting in one worker does not slow down another.
const RECORD: usize = 8;

/// Words before the first record. The first is the number of records ever taken, so that readers can skip the rest.
const PREFIX: usize = RECORD;
// The words of the prefix.
const TAKEN: usize = 0;
const SUPERVISOR: usize = 1;
const STARTED: usize = 2;
/// Messages of the supervisor's log that no worker has reported to statsd.
const LOGGED: usize = 3;
const DRAINING: usize = RECORD - 1;
// The words of a record.
const LIFE: usize = 0;
const CONNECTIONS: usize = 1;
const REQUESTS: usize = 2;
const TURNS: usize = 3;

/// All records. A copy refers to the same memory.
#[derive(Debug, Clone, Copy)]
pub struct Scoreboard {
    words: &'static [AtomicU64],
    /// Whether requests are read from it without their query strings.
    hides_queries: bool,
}

/// Offset of the counters.
const ALL_COUNTERS: usize = PREFIX + RECORD * Scoreboard::MOST_WORKERS;
/// Words of a worker's counters and entries.
const EACH_COUNTERS: usize = COUNTERS + ENTRY * ENTRIES;
/// Offset of the reload's state.
const RELOAD: usize = ALL_COUNTERS + EACH_COUNTERS * Scoreboard::MOST_WORKERS;
/// Offset of the exit counters.
const EXITS: usize = RELOAD + reload::WORDS;

/// Offset of the switch for maintenance.
const MAINTENANCE: usize = EXITS + exits::WORDS;
/// Offset of the counts of lost lines.
const LOST_LINES: usize = MAINTENANCE + maintenance::WORDS;
/// More further event loops than this may run; the excess ones have no record and are not counted.
const MOST_FURTHER: usize = 256;
/// Offset of the records of further event loops, on cache lines of their own.
const FURTHER: usize = (LOST_LINES + lost_lines::WORDS).next_multiple_of(RECORD);

impl Scoreboard {
    /// More workers than this may run; the excess workers have no record and take no part.
    pub const MOST_WORKERS: usize = 256;
    /// How many words a scoreboard for [`Scoreboard::MOST_WORKERS`] has: 28 MiB, of which only written pages take
    /// memory.
    pub const WORDS: usize = FURTHER + RECORD + (RECORD + EACH_COUNTERS) * MOST_FURTHER;

    /// A scoreboard over zeroed memory, with as many records as fit, and as many counters as fit after
    /// [`Scoreboard::MOST_WORKERS`] records. Best aligned to 64 bytes.
    pub fn new(words: &'static [AtomicU64]) -> Self {
        Self {
            words,
            hides_queries: false,
        }
    }

    /// The same memory, from which requests are read without their query strings: all that shows requests to an
    /// operator reads them here, so that none of it has to think of them.
    #[must_use]
    pub fn without_queries(self) -> Self {
        Self {
            hides_queries: true,
            ..self
        }
    }

    /// Whether it is [`Scoreboard::without_queries`].
    pub fn hides_queries(self) -> bool {
        self.hides_queries
    }

    /// The record of the worker in this slot (from 0), which only that worker may write; `None` beyond the last record.
    pub fn worker_slot(self, slot: usize) -> Option<WorkerSlot> {
        self.record(slot).map(|record| WorkerSlot {
            scoreboard: self,
            slot,
            place: slot,
            record,
            counters: self.counters(slot),
        })
    }

    /// Clears the record of a dead worker: its numbers no longer count. The caller has seen that it is dead.
    pub fn clear(self, slot: usize) {
        if let Some(record) = self.record(slot) {
            record.vacate();
        }
        if let Some(counters) = self.counters(slot) {
            counters.close();
        }
        for further in self.further_of(slot) {
            further.record.vacate();
            further.counters.close();
        }
    }

    /// Records the start of the server: its supervisor, and nanoseconds of the monotonic clock.
    pub fn record_start(self, supervisor: u32, now: u64) {
        for (index, value) in [(SUPERVISOR, supervisor.into()), (STARTED, now)] {
            if let Some(word) = self.words.get(index) {
                word.store(value, Ordering::Relaxed);
            }
        }
    }

    /// The supervisor's process id, and its start time.
    pub fn supervisor(self) -> (u64, u64) {
        (self.prefix(SUPERVISOR), self.prefix(STARTED))
    }

    /// Records that the server has been asked to stop. Its workers may continue to serve for a while.
    pub fn set_draining(self) {
        if let Some(word) = self.words.get(DRAINING) {
            word.store(1, Ordering::Relaxed);
        }
    }

    /// Whether the server has been asked to stop.
    pub fn is_draining(self) -> bool {
        self.prefix(DRAINING) != 0
    }

    /// Counts lines of a log that were lost.
    pub fn count_lost_lines(self, log: LossyLog, lines: u64) {
        if let Some(word) = self.words.get(LOST_LINES + log as usize) {
            word.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// Lines of a log that were lost since the start of the server.
    pub fn lost_lines(self, log: LossyLog) -> u64 {
        let word = self.words.get(LOST_LINES + log as usize);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Adds messages of the supervisor's log, for statsd.
    pub fn count_log(self, messages: LogCounts) {
        for (word, count) in self.logged().iter().zip(messages.counts) {
            if count > 0 {
                word.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// The messages of the supervisor's log since the last call by any worker.
    pub fn take_log_counts(self) -> LogCounts {
        let mut taken = LogCounts::default();
        for (word, count) in self.logged().iter().zip(&mut taken.counts) {
            if word.load(Ordering::Relaxed) > 0 {
                *count = word.swap(0, Ordering::Relaxed);
            }
        }
        taken
    }

    fn logged(self) -> &'static [AtomicU64] {
        (self.words.get(LOGGED..LOGGED + LogCounts::NAMES.len())).unwrap_or_default()
    }

    fn prefix(self, index: usize) -> u64 {
        self.words
            .get(index)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// How many slots were ever taken.
    fn taken(self) -> usize {
        usize::try_from(self.prefix(TAKEN)).unwrap_or(usize::MAX)
    }

    /// What the worker of this slot reports to the operator.
    pub(crate) fn counters(self, slot: usize) -> Option<WorkerCounters> {
        if slot >= Self::MOST_WORKERS {
            return None;
        }
        let start = ALL_COUNTERS + slot * EACH_COUNTERS;
        WorkerCounters::over(self.words.get(start..start + EACH_COUNTERS)?)
    }

    /// The workers that accept connections now: their slots and counts.
    pub fn serving(self) -> impl Iterator<Item = (usize, Counts)> + Clone {
        let records = self.words.get(PREFIX..).unwrap_or_default();
        records
            .chunks_exact(RECORD)
            .map(Record)
            .take(self.taken().min(Self::MOST_WORKERS))
            .enumerate()
            .filter_map(|(slot, record)| Some((slot, record.counts()?)))
    }

    fn record(self, slot: usize) -> Option<Record> {
        if slot >= Self::MOST_WORKERS {
            return None;
        }
        let start = slot.checked_mul(RECORD)?.checked_add(PREFIX)?;
        Some(Record(self.words.get(start..start.checked_add(RECORD)?)?))
    }
}

/// The counts of one worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many workers have served in this slot, this one included.
    pub generation: u64,
    /// Connections that it holds, including those that wait and those with a running request.
    pub connections: u64,
    /// Requests that it has taken up since it started.
    pub requests: u64,
    /// Event loop turns of all workers of this slot: if it does not change for a while, this worker is in a call or
    /// asleep.
    pub turns: u64,
}

/// One worker's record on the scoreboard, or that of one of its further event loops.
#[derive(Debug)]
pub struct WorkerSlot {
    scoreboard: Scoreboard,
    slot: usize,
    /// Its number among all records, those of further event loops included.
    place: usize,
    record: Record,
    counters: Option<WorkerCounters>,
}

impl WorkerSlot {
    /// The worker accepts connections from now on.
    pub fn enter(&self) {
        self.record.set(CONNECTIONS, 0);
        self.record.set(REQUESTS, 0);
        let generation = (self.record.word(LIFE) >> 1) + 1;
        // Release ordering after the zeros: no reader counts what the predecessor left.
        self.record.0[LIFE].store(generation << 1 | 1, Ordering::Release);
        // Further event loops have been counted when they got their place.
        if self.place == self.slot
            && let Some(taken) = self.scoreboard.words.get(TAKEN)
        {
            taken.fetch_max(self.slot as u64 + 1, Ordering::Release);
        }
    }

    /// The scoreboard that it is on.
    pub fn scoreboard(&self) -> Scoreboard {
        self.scoreboard
    }

    /// Its number, from 0.
    pub fn number(&self) -> usize {
        self.slot
    }

    /// Its counters, for the operator.
    pub fn counters(&self) -> Option<WorkerCounters> {
        self.counters
    }

    /// The worker accepts no more connections; the other workers share them.
    pub fn leave(&self) {
        self.record.vacate();
    }

    /// Called once per turn of the event loop, with the connections held and the requests taken up.
    pub fn publish(&self, connections: u64, requests: u64) {
        self.record.set(CONNECTIONS, connections);
        self.record.set(REQUESTS, requests);
        // This worker is the only writer, so no count is lost; it continues from the predecessor's count.
        self.record.set(TURNS, self.record.word(TURNS) + 1);
    }

    /// The event loops of all workers that accept connections now, without this one: their places and counts.
    pub fn siblings(&self) -> impl Iterator<Item = (usize, Counts)> + Clone {
        let own = self.place;
        let workers = self.scoreboard.serving();
        workers
            .chain(self.scoreboard.further_serving())
            .filter(move |(place, _)| *place != own)
    }
}

#[derive(Debug)]
struct Record(&'static [AtomicU64]);

impl Record {
    /// The lowest bit says whether a worker serves, the bits above count workers.
    fn counts(&self) -> Option<Counts> {
        let life = self.0[LIFE].load(Ordering::Acquire);
        (life & 1 == 1).then(|| Counts {
            generation: life >> 1,
            connections: self.word(CONNECTIONS),
            requests: self.word(REQUESTS),
            turns: self.word(TURNS),
        })
    }

    fn vacate(&self) {
        self.set(LIFE, self.word(LIFE) & !1);
    }

    fn word(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Relaxed)
    }

    fn set(&self, index: usize, value: u64) {
        self.0[index].store(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scoreboard(records: usize) -> Scoreboard {
        let words: Vec<AtomicU64> = (0..PREFIX + RECORD * records)
            .map(|_| AtomicU64::new(0))
            .collect();
        Scoreboard::new(Vec::leak(words))
    }

    fn serve(scoreboard: Scoreboard, slot: usize, connections: u64) -> WorkerSlot {
        let worker_slot = scoreboard.worker_slot(slot).unwrap();
        worker_slot.enter();
        worker_slot.publish(connections, 7);
        worker_slot
    }

    fn held(scoreboard: Scoreboard) -> Vec<(usize, u64)> {
        scoreboard
            .serving()
            .map(|(slot, counts)| (slot, counts.connections))
            .collect()
    }

    #[test]
    fn a_new_scoreboard_is_empty() {
        assert_eq!(held(scoreboard(4)), []);
        assert_eq!(held(Scoreboard::new(&[])), []);
    }

    #[test]
    fn only_workers_that_serve_are_listed() {
        let scoreboard = scoreboard(4);
        let worker_slots =
            [(0, 5), (1, 7), (3, 11)].map(|(slot, held)| serve(scoreboard, slot, held));
        assert_eq!(held(scoreboard), [(0, 5), (1, 7), (3, 11)]);
        assert_eq!(
            worker_slots[1]
                .siblings()
                .map(|(slot, _)| slot)
                .sum::<usize>(),
            3
        );
        worker_slots[1].leave();
        assert_eq!(held(scoreboard), [(0, 5), (3, 11)]);
        scoreboard.clear(3);
        scoreboard.clear(99);
        assert_eq!(held(scoreboard), [(0, 5)]);
    }

    #[test]
    fn a_server_that_was_asked_to_stop_is_draining_while_its_workers_serve() {
        let scoreboard = scoreboard(1);
        serve(scoreboard, 0, 3);
        assert!(!scoreboard.is_draining());
        scoreboard.set_draining();
        assert!(scoreboard.is_draining());
        assert_eq!(held(scoreboard), [(0, 3)]);
    }

    #[test]
    fn each_message_of_the_supervisors_log_is_taken_once_and_moves_no_other_word() {
        let scoreboard = scoreboard(1);
        serve(scoreboard, 0, 3);
        let counts = |counts| LogCounts { counts };
        scoreboard.count_log(counts([1, 0, 2, 0]));
        scoreboard.count_log(counts([0, 5, 1, 4]));
        assert_eq!(scoreboard.take_log_counts(), counts([1, 5, 3, 4]));
        assert_eq!(scoreboard.take_log_counts(), LogCounts::default());
        assert_eq!(held(scoreboard), [(0, 3)]);
        assert_eq!(scoreboard.supervisor(), (0, 0));
        assert!(!scoreboard.is_draining());
    }

    #[test]
    fn a_successor_begins_at_zero_in_the_next_generation() {
        let scoreboard = scoreboard(1);
        for generation in 1..4 {
            let worker_slot = scoreboard.worker_slot(0).unwrap();
            worker_slot.enter();
            let fresh = Counts {
                generation,
                turns: generation - 1,
                ..Counts::default()
            };
            assert_eq!(scoreboard.serving().next(), Some((0, fresh)));
            worker_slot.publish(3, 9);
            scoreboard.clear(0);
            assert_eq!(scoreboard.serving().next(), None);
        }
    }

    #[test]
    fn a_predecessor_that_was_never_cleared_is_overwritten() {
        let scoreboard = scoreboard(1);
        serve(scoreboard, 0, 3);
        serve(scoreboard, 0, 0);
        let (_, counts) = scoreboard.serving().next().unwrap();
        assert_eq!((counts.generation, counts.connections), (2, 0));
    }

    #[test]
    fn counters_of_two_slots_share_no_word_with_each_other_or_with_records() {
        let words = Scoreboard::WORDS;
        let memory: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
        let scoreboard = Scoreboard::new(Vec::leak(memory));
        let slots = [0, 1, 2, Scoreboard::MOST_WORKERS - 1];
        for slot in slots {
            let number = slot as u64 + 1;
            let worker_slot = scoreboard.worker_slot(slot).unwrap();
            worker_slot.enter();
            worker_slot.publish(number, 7);
            let counters = worker_slot.counters().unwrap();
            counters.open(slot as u32 + 1000, number);
            // Every entry is claimed, including the last one, which is nearest to the counters of the next slot.
            let threads = std::iter::from_fn(|| counters.claim(number, number)).count();
            assert_eq!(threads, ENTRIES);
            counters.record_received(number);
            for loss in Loss::ALL {
                counters.record_loss(loss, number);
            }
        }
        for slot in slots {
            let (number, counters) = (slot as u64 + 1, scoreboard.counters(slot).unwrap());
            assert_eq!((counters.pid(), counters.started()), (number + 999, number));
            let totals = counters.totals();
            assert_eq!(totals.losses, [1; Loss::ALL.len()]);
            assert_eq!((totals.received, totals.sent), (number, 6 * number));
            assert_eq!(totals.classes, [0; 5]);
        }
        let expected: Vec<_> = slots.map(|slot| (slot, slot as u64 + 1)).into();
        assert_eq!(held(scoreboard), expected);
        // Lines released in one slot are not available to the others.
        scoreboard.clear(1);
        assert!(scoreboard.counters(1).unwrap().claim(1, 1).is_some());
        assert!(scoreboard.counters(0).unwrap().claim(1, 1).is_none());
        assert!(scoreboard.counters(2).unwrap().claim(1, 1).is_none());
    }

    #[test]
    fn beyond_the_last_record_there_is_no_slot() {
        let scoreboard = scoreboard(2);
        assert!(scoreboard.worker_slot(1).is_some());
        for slot in [2, Scoreboard::MOST_WORKERS, usize::MAX / RECORD, usize::MAX] {
            assert!(scoreboard.worker_slot(slot).is_none(), "{slot}");
        }
    }
}
