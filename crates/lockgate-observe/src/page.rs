//! The shared page (scoreboard): what each worker reports to its siblings and to the operator, in memory that all
//! processes of a server share. The caller provides the memory.
//!
//! A reader may see one worker's numbers a moment late, so they may serve heuristics only.
//!
//! Layout: one record per worker, adjacent because siblings read all of them for each connection; then per worker a
//! [`Ledger`] and its lines, which only an operator reads; then the state of the last reload, and the numbers of worker
//! exits by cause.

mod exits;
mod histogram;
mod ledger;
mod line;
mod reload;
mod view;

use std::sync::atomic::{AtomicU64, Ordering};

pub use exits::ExitCause;
pub use histogram::{BOUNDS, BUCKETS, FIRST_WAIT};
pub use ledger::{Ledger, Loss, Response, Totals};
pub use line::{Call, Line, Running};
pub use reload::{ReloadState, ReloadView};
pub use view::{State, WorkerView};

use ledger::LEDGER;
use line::{LINE, LINES};

/// Words of a record: a cache line of its own, so that counting in one worker does not slow down another.
const RECORD: usize = 8;

/// Words before the first record. The first is the number of records ever taken, so that readers can skip the rest.
const PREFIX: usize = RECORD;
// The words of the prefix.
const TAKEN: usize = 0;
const SUPERVISOR: usize = 1;
const FOUNDED: usize = 2;
const DRAINING: usize = RECORD - 1;
// The words of a record.
const LIFE: usize = 0;
const CONNECTIONS: usize = 1;
const REQUESTS: usize = 2;
const TURNS: usize = 3;

/// All records. A copy refers to the same memory.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    words: &'static [AtomicU64],
}

/// Offset of the ledgers.
const LEDGERS: usize = PREFIX + RECORD * Page::MOST_WORKERS;
/// Offset of the reload's state.
const RELOAD: usize = LEDGERS + (LEDGER + LINE * LINES) * Page::MOST_WORKERS;
/// Offset of the exit counters.
const EXITS: usize = RELOAD + reload::WORDS;

impl Page {
    /// More workers than this may run; the excess workers have no record and take no part.
    pub const MOST_WORKERS: usize = 256;
    /// How many words a page for [`Page::MOST_WORKERS`] has: 11 MiB, of which only written pages take memory.
    pub const WORDS: usize = EXITS + exits::WORDS;

    /// A page over zeroed memory, with as many records as fit, and as many ledgers as fit after [`Page::MOST_WORKERS`]
    /// records. Best aligned to 64 bytes.
    pub fn new(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    /// The record of the worker in this slot (from 0), which only that worker may write; `None` beyond the last record.
    pub fn seat(self, slot: usize) -> Option<Seat> {
        self.record(slot).map(|record| Seat {
            page: self,
            slot,
            record,
        })
    }

    /// Clears the record of a dead worker: its numbers no longer count. The caller has seen that it is dead.
    pub fn clear(self, slot: usize) {
        if let Some(record) = self.record(slot) {
            record.vacate();
        }
        if let Some(ledger) = self.ledger(slot) {
            ledger.close();
        }
    }

    /// Records the start of the server: its supervisor, and nanoseconds of the monotonic clock.
    pub fn found(self, supervisor: u32, now: u64) {
        for (index, value) in [(SUPERVISOR, supervisor.into()), (FOUNDED, now)] {
            if let Some(word) = self.words.get(index) {
                word.store(value, Ordering::Relaxed);
            }
        }
    }

    /// The supervisor's process id, and its start time.
    pub fn founded(self) -> (u64, u64) {
        (self.prefix(SUPERVISOR), self.prefix(FOUNDED))
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
    pub(crate) fn ledger(self, slot: usize) -> Option<Ledger> {
        const EACH: usize = LEDGER + LINE * LINES;
        if slot >= Self::MOST_WORKERS {
            return None;
        }
        let start = LEDGERS + slot * EACH;
        Ledger::over(self.words.get(start..start + EACH)?)
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

/// One worker's record on the page.
#[derive(Debug)]
pub struct Seat {
    page: Page,
    slot: usize,
    record: Record,
}

impl Seat {
    /// The worker accepts connections from now on.
    pub fn enter(&self) {
        self.record.set(CONNECTIONS, 0);
        self.record.set(REQUESTS, 0);
        let generation = (self.record.word(LIFE) >> 1) + 1;
        // Release ordering after the zeros: no reader counts what the predecessor left.
        self.record.0[LIFE].store(generation << 1 | 1, Ordering::Release);
        if let Some(taken) = self.page.words.get(TAKEN) {
            taken.fetch_max(self.slot as u64 + 1, Ordering::Release);
        }
    }

    /// Its ledger, for the operator.
    pub fn ledger(&self) -> Option<Ledger> {
        self.page.ledger(self.slot)
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

    /// See [`Page::serving`], without the worker itself.
    pub fn siblings(&self) -> impl Iterator<Item = (usize, Counts)> + Clone {
        let own = self.slot;
        self.page.serving().filter(move |(slot, _)| *slot != own)
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

    fn page(records: usize) -> Page {
        let words: Vec<AtomicU64> = (0..PREFIX + RECORD * records)
            .map(|_| AtomicU64::new(0))
            .collect();
        Page::new(Vec::leak(words))
    }

    fn serve(page: Page, slot: usize, connections: u64) -> Seat {
        let seat = page.seat(slot).unwrap();
        seat.enter();
        seat.publish(connections, 7);
        seat
    }

    fn held(page: Page) -> Vec<(usize, u64)> {
        page.serving()
            .map(|(slot, counts)| (slot, counts.connections))
            .collect()
    }

    #[test]
    fn a_new_page_has_nobody_on_it() {
        assert_eq!(held(page(4)), []);
        assert_eq!(held(Page::new(&[])), []);
    }

    #[test]
    fn those_who_serve_are_seen_and_those_who_left_or_died_are_not() {
        let page = page(4);
        let seats = [(0, 5), (1, 7), (3, 11)].map(|(slot, held)| serve(page, slot, held));
        assert_eq!(held(page), [(0, 5), (1, 7), (3, 11)]);
        assert_eq!(seats[1].siblings().map(|(slot, _)| slot).sum::<usize>(), 3);
        seats[1].leave();
        assert_eq!(held(page), [(0, 5), (3, 11)]);
        page.clear(3);
        page.clear(99);
        assert_eq!(held(page), [(0, 5)]);
    }

    #[test]
    fn a_server_that_is_to_stop_is_draining_while_its_workers_serve() {
        let page = page(1);
        serve(page, 0, 3);
        assert!(!page.is_draining());
        page.set_draining();
        assert!(page.is_draining());
        assert_eq!(held(page), [(0, 3)]);
    }

    #[test]
    fn a_successor_begins_at_nothing_in_the_next_generation() {
        let page = page(1);
        for generation in 1..4 {
            let seat = page.seat(0).unwrap();
            seat.enter();
            let fresh = Counts {
                generation,
                turns: generation - 1,
                ..Counts::default()
            };
            assert_eq!(page.serving().next(), Some((0, fresh)));
            seat.publish(3, 9);
            page.clear(0);
            assert_eq!(page.serving().next(), None);
        }
    }

    #[test]
    fn a_predecessor_that_was_never_cleared_is_overwritten() {
        let page = page(1);
        serve(page, 0, 3);
        serve(page, 0, 0);
        let (_, counts) = page.serving().next().unwrap();
        assert_eq!((counts.generation, counts.connections), (2, 0));
    }

    #[test]
    fn ledgers_of_two_slots_share_no_word_with_each_other_or_with_records() {
        let words = Page::WORDS;
        let memory: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
        let page = Page::new(Vec::leak(memory));
        let slots = [0, 1, 2, Page::MOST_WORKERS - 1];
        for slot in slots {
            let number = slot as u64 + 1;
            let seat = page.seat(slot).unwrap();
            seat.enter();
            seat.publish(number, 7);
            let ledger = seat.ledger().unwrap();
            ledger.open(slot as u32 + 1000, number);
            // Every line is claimed, including the last one, which is nearest to the next ledger.
            let threads = std::iter::from_fn(|| ledger.claim(number, number)).count();
            assert_eq!(threads, LINES);
            ledger.note_received(number);
            for loss in Loss::ALL {
                ledger.note_loss(loss, number);
            }
        }
        for slot in slots {
            let (number, ledger) = (slot as u64 + 1, page.ledger(slot).unwrap());
            assert_eq!((ledger.pid(), ledger.started()), (number + 999, number));
            let totals = ledger.totals();
            assert_eq!(totals.losses, [1; Loss::ALL.len()]);
            assert_eq!((totals.received, totals.sent), (number, 6 * number));
            assert_eq!(totals.classes, [0; 5]);
        }
        let expected: Vec<_> = slots.map(|slot| (slot, slot as u64 + 1)).into();
        assert_eq!(held(page), expected);
        // Lines released in one slot are not available to the others.
        page.clear(1);
        assert!(page.ledger(1).unwrap().claim(1, 1).is_some());
        assert!(page.ledger(0).unwrap().claim(1, 1).is_none());
        assert!(page.ledger(2).unwrap().claim(1, 1).is_none());
    }

    #[test]
    fn beyond_the_last_record_there_is_no_seat() {
        let page = page(2);
        assert!(page.seat(1).is_some());
        for slot in [2, Page::MOST_WORKERS, usize::MAX / RECORD, usize::MAX] {
            assert!(page.seat(slot).is_none(), "{slot}");
        }
    }
}
