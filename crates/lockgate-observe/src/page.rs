//! The shared page: what each worker tells its siblings and the operator, in memory that all processes of a server see.
//!
//! Knows neither how that memory is made nor who reads it. A reader may see one worker's numbers a moment old, and
//! nothing but a judgement may hang on them.
//!
//! First comes a record for each worker, together, because siblings look at all of them for each connection; behind
//! the last record each worker has a [`Ledger`] and its lines, which only an operator reads, and behind those is how the
//! last reload went, and how many workers have ended for which cause.

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

/// Words of a record: a cache line of its own, so that no worker slows another down by counting.
const RECORD: usize = 8;

/// Words before the first record. The first of them says how many records were ever taken, so that readers need not
/// look at the rest.
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

/// All records. A copy is another view of the same memory.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    words: &'static [AtomicU64],
}

/// Where the ledgers begin.
const LEDGERS: usize = PREFIX + RECORD * Page::MOST_WORKERS;
/// Where the reload is told of.
const RELOAD: usize = LEDGERS + (LEDGER + LINE * LINES) * Page::MOST_WORKERS;
/// Where ends of workers are counted.
const EXITS: usize = RELOAD + reload::WORDS;

impl Page {
    /// More workers than this may run; those beyond have no record and take no part.
    pub const MOST_WORKERS: usize = 256;
    /// How many words a page for [`Page::MOST_WORKERS`] has: 11 MiB, of which only what is written is ever used.
    pub const WORDS: usize = EXITS + exits::WORDS;

    /// A page over zeroed memory; it has as many records as fit, and as many ledgers as fit behind
    /// [`Page::MOST_WORKERS`] records. Best aligned to 64 bytes.
    pub fn new(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    /// The place of the worker in this slot (0 up), which only that worker may write to; `None` beyond the last record.
    pub fn seat(self, slot: usize) -> Option<Seat> {
        self.record(slot).map(|record| Seat {
            page: self,
            slot,
            record,
        })
    }

    /// The worker of this slot is dead: its numbers count no more. For whoever has seen it dead.
    pub fn clear(self, slot: usize) {
        if let Some(record) = self.record(slot) {
            record.vacate();
        }
        if let Some(ledger) = self.ledger(slot) {
            ledger.close();
        }
    }

    /// The server begins: its supervisor, and nanoseconds of the monotonic clock.
    pub fn found(self, supervisor: u32, now: u64) {
        for (index, value) in [(SUPERVISOR, supervisor.into()), (FOUNDED, now)] {
            if let Some(word) = self.words.get(index) {
                word.store(value, Ordering::Relaxed);
            }
        }
    }

    /// The supervisor's process id, and since when it runs.
    pub fn founded(self) -> (u64, u64) {
        (self.prefix(SUPERVISOR), self.prefix(FOUNDED))
    }

    /// The server has been asked to stop. Its workers may serve for a while yet.
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

    /// What the worker of this slot tells the operator.
    pub(crate) fn ledger(self, slot: usize) -> Option<Ledger> {
        const EACH: usize = LEDGER + LINE * LINES;
        if slot >= Self::MOST_WORKERS {
            return None;
        }
        let start = LEDGERS + slot * EACH;
        Ledger::over(self.words.get(start..start + EACH)?)
    }

    /// The workers that accept connections now: their slots and what they have counted.
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

/// What one worker has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many workers have served in this slot, this one included.
    pub generation: u64,
    /// Connections it holds, those that wait and those whose request runs.
    pub connections: u64,
    /// Requests that it has taken up since it began.
    pub requests: u64,
    /// How often the workers of this slot have looked for something to do: unchanged for a while, this one is in a
    /// call or asleep.
    pub turns: u64,
}

/// One worker's place on the page.
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
        // Released after the zeros: nobody counts what the predecessor left.
        self.record.0[LIFE].store(generation << 1 | 1, Ordering::Release);
        if let Some(taken) = self.page.words.get(TAKEN) {
            taken.fetch_max(self.slot as u64 + 1, Ordering::Release);
        }
    }

    /// Where it counts for the operator.
    pub fn ledger(&self) -> Option<Ledger> {
        self.page.ledger(self.slot)
    }

    /// The worker accepts no more connections; the others share them without it.
    pub fn leave(&self) {
        self.record.vacate();
    }

    /// The worker looks for something to do; it holds so many connections and has taken up so many requests.
    pub fn publish(&self, connections: u64, requests: u64) {
        self.record.set(CONNECTIONS, connections);
        self.record.set(REQUESTS, requests);
        // Nobody else writes here, so this loses no count; it goes on where the predecessor stopped.
        self.record.set(TURNS, self.record.word(TURNS) + 1);
    }

    /// See [`Page::serving`]; the worker itself left out.
    pub fn siblings(&self) -> impl Iterator<Item = (usize, Counts)> + Clone {
        let own = self.slot;
        self.page.serving().filter(move |(slot, _)| *slot != own)
    }
}

#[derive(Debug)]
struct Record(&'static [AtomicU64]);

impl Record {
    /// The lowest bit says that a worker serves, those above count workers.
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
            // Every line is taken, also the last one, which is nearest to the next ledger.
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
        // What one slot lets go of stays with the others.
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
