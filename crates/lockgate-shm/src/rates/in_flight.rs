//! How many requests of each key are in flight: a row for each key, in which each worker has a column of its own.
//!
//! Only its worker changes a column, so the death of a worker is undone by clearing its column, exactly.

use std::sync::atomic::{AtomicU64, Ordering};

use super::key::KeyHash;
use super::layout::WAYS;
use super::tags::{claim, find, set_of};

/// See the module. A copy refers to the same memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    /// How many columns are in use, and the process of each.
    in_use: &'static AtomicU64,
    owners: &'static [AtomicU64],
    sets: &'static [AtomicU64],
    row_words: usize,
}

/// A place that a request has. Given back with [`Rates::release`](super::Rates::release).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The word of its row, and its bits; `None`: no row was free, it is not counted.
    word: Option<(usize, u32)>,
}

/// One row.
#[derive(Debug, Clone, Copy)]
struct Row {
    tag: u64,
    tag_word: &'static AtomicU64,
    /// Its first word among all.
    start: usize,
    words: &'static [AtomicU64],
}

/// Columns of a word.
const COLUMNS: usize = 4;
const COLUMN_BITS: u32 = 16;
/// Most requests of one key in one worker.
const MOST: u64 = (1 << COLUMN_BITS) - 1;
/// More event loops than a worker may have.
const EVENT_LOOPS: u64 = 256;
/// How often a row may be taken away while a request looks for it.
const MOST_ATTEMPTS: usize = 8;

fn row_words(workers: usize) -> usize {
    workers.div_ceil(COLUMNS).max(1)
}

/// Words of a set.
pub(super) fn set_words(workers: usize) -> usize {
    WAYS * (1 + row_words(workers))
}

/// Words of the owners, in whole cache lines.
pub(super) fn owner_words(workers: usize) -> usize {
    (1 + workers).next_multiple_of(8)
}

/// The bits of a column in its word.
fn shift_of(slot: usize) -> u32 {
    u32::try_from(slot % COLUMNS).unwrap_or(0) * COLUMN_BITS
}

impl Place {
    /// Whether it is counted; false: there was no room for its key.
    pub(super) fn is_counted(&self) -> bool {
        self.word.is_some()
    }
}

impl InFlight {
    /// Divides the memory.
    pub(super) fn new(words: &'static [AtomicU64], workers: usize) -> Option<Self> {
        let (owners, sets) = words.split_at_checked(owner_words(workers))?;
        let (in_use, owners) = owners.split_first()?;
        Some(Self {
            in_use,
            owners: owners.get(..workers)?,
            sets,
            row_words: row_words(workers),
        })
    }

    pub(super) fn enter(&self, slot: usize, process: u32) {
        let Some(owner) = self.owners.get(slot) else {
            return;
        };
        self.clear(slot);
        owner.store(u64::from(process), Ordering::SeqCst);
        self.in_use.fetch_max(slot as u64 + 1, Ordering::SeqCst);
    }

    pub(super) fn release_of_dead(&self, process: u32) {
        let process = u64::from(process);
        for (slot, owner) in self.owners.iter().enumerate() {
            let release = || owner.compare_exchange(process, 0, Ordering::SeqCst, Ordering::SeqCst);
            if process != 0 && owner.load(Ordering::SeqCst) == process {
                self.clear(slot);
                let _released = release();
            }
        }
    }

    /// `None`: as many as may be are in flight.
    pub(super) fn acquire(&self, key: KeyHash, slot: usize, most: u32) -> Option<Place> {
        let not_counted = Some(Place { word: None });
        if slot >= self.owners.len() {
            return not_counted;
        }
        for _ in 0..MOST_ATTEMPTS {
            let Some(row) = self.find_or_claim(key) else {
                return not_counted;
            };
            let shift = shift_of(slot);
            let Some(word) = row.words.get(slot / COLUMNS) else {
                return not_counted;
            };
            // Only this worker adds to its column, each of its event loops on one thread: it grows by no more than their
            // number in between.
            if (word.load(Ordering::SeqCst) >> shift) & MOST >= MOST - EVENT_LOOPS {
                return None;
            }
            word.fetch_add(1 << shift, Ordering::SeqCst);
            let place = Place {
                word: Some((row.start + slot / COLUMNS, shift)),
            };
            // Counted first and then compared: of two requests that take the last place at once both may be refused,
            // and never both let in.
            let is_current = row.tag_word.load(Ordering::SeqCst) == row.tag;
            if is_current && row.sum(self.columns()) <= u64::from(most) {
                return Some(place);
            }
            self.release(place);
            if is_current {
                return None;
            }
        }
        not_counted
    }

    pub(super) fn release(&self, place: Place) {
        let Some((word, shift)) = place.word else {
            return;
        };
        if let Some(word) = self.sets.get(word) {
            // A column that was cleared meanwhile stays empty, and does not borrow from its neighbour.
            let less = |seen: u64| ((seen >> shift) & MOST > 0).then(|| seen - (1 << shift));
            let _released = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        }
    }

    pub(super) fn number(&self, key: KeyHash) -> u64 {
        let set = set_of(key.place, self.number_of_sets());
        let row = self.find(set, key);
        row.map_or(0, |row| row.sum(self.columns()))
    }

    fn columns(&self) -> usize {
        usize::try_from(self.in_use.load(Ordering::SeqCst)).unwrap_or(usize::MAX)
    }

    /// Empties a column.
    fn clear(&self, slot: usize) {
        let bits = MOST << shift_of(slot);
        for set in 0..self.number_of_sets() {
            for row in self.rows_of(set) {
                if let Some(word) = row.words.get(slot / COLUMNS)
                    && word.load(Ordering::SeqCst) & bits != 0
                {
                    word.fetch_and(!bits, Ordering::SeqCst);
                }
            }
        }
    }

    /// The row of a key, or one in which nothing is in flight; `None`: there is none.
    fn find_or_claim(&self, key: KeyHash) -> Option<Row> {
        let set = set_of(key.place, self.number_of_sets());
        for _ in 0..MOST_ATTEMPTS {
            if let Some(row) = self.find(set, key) {
                return Some(row);
            }
            let columns = self.columns();
            let mut rows = self.rows_of(set).enumerate();
            let (place, idle) = rows.find(|(_, row)| row.sum(columns) == 0)?;
            let row = Row {
                tag: key.tag,
                ..idle
            };
            if claim(self.tags(set), place, idle.tag, key.tag) {
                return Some(row);
            }
        }
        None
    }

    fn find(&self, set: usize, key: KeyHash) -> Option<Row> {
        let place = find(self.tags(set), key.tag)?;
        let row = self.rows_of(set).nth(place)?;
        Some(Row {
            tag: key.tag,
            ..row
        })
    }

    fn set_words(&self) -> usize {
        WAYS * (1 + self.row_words)
    }

    fn number_of_sets(&self) -> usize {
        self.sets.len() / self.set_words()
    }

    fn tags(&self, set: usize) -> &'static [AtomicU64] {
        let start = set * self.set_words();
        self.sets.get(start..start + WAYS).unwrap_or_default()
    }

    fn rows_of(&self, set: usize) -> impl Iterator<Item = Row> + use<> {
        let (sets, row_words) = (self.sets, self.row_words);
        let start = set * self.set_words() + WAYS;
        let tags = self.tags(set).iter().enumerate();
        tags.filter_map(move |(place, tag_word)| {
            let start = start + place * row_words;
            Some(Row {
                tag: tag_word.load(Ordering::SeqCst),
                tag_word,
                start,
                words: sets.get(start..start + row_words)?,
            })
        })
    }
}

impl Row {
    /// The sum of the first columns.
    fn sum(&self, columns: usize) -> u64 {
        let words = self.words.iter().take(columns.div_ceil(COLUMNS));
        words.map(|word| sum_of(word.load(Ordering::SeqCst))).sum()
    }
}

fn sum_of(word: u64) -> u64 {
    (0..64)
        .step_by(COLUMN_BITS as usize)
        .map(|shift| (word >> shift) & MOST)
        .sum()
}
