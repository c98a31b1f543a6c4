//! How many requests each limit has refused, over all workers, and how operators call it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::hash::word_of;

/// How many limits can be counted since the start of the server.
const ROWS: usize = 256;
/// A row has two cache lines of its own.
const ROW_WORDS: usize = 16;
pub(super) const WORDS: usize = ROWS * ROW_WORDS;
/// Bytes of a name.
const MOST_NAME: usize = (ROW_WORDS - 3) * 8;

/// See the module. A copy refers to the same memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    words: &'static [AtomicU64],
}

/// The row of one limit.
#[derive(Debug, Clone, Copy)]
pub struct TotalsRow {
    words: &'static [AtomicU64; ROW_WORDS],
}

/// What a limit has done since the start of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitTotals {
    /// See [`scope`](super::scope).
    pub scope: u64,
    /// What it was called when a worker opened it last; cut to 104 bytes.
    pub name: String,
    /// Requests that were refused.
    pub refused: u64,
    /// Requests that were served and would have been refused without the dry run.
    pub would_refuse: u64,
}

impl Totals {
    pub(super) fn new(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    fn rows(&self) -> impl Iterator<Item = TotalsRow> + use<> {
        let (rows, _) = self.words.as_chunks::<ROW_WORDS>();
        rows.iter().map(|words| TotalsRow { words })
    }

    /// The row of a scope, which gets this name; `None`: all are taken by others.
    pub(super) fn open(&self, scope: u64, name: &str) -> Option<TotalsRow> {
        // A row is taken by one exchange and never given back, and all look in the same order: a scope has one row.
        let row = self.rows().find(|row| {
            let [word, ..] = row.words;
            let taken = word.compare_exchange(0, scope, Ordering::SeqCst, Ordering::SeqCst);
            taken.is_ok() || taken == Err(scope)
        })?;
        row.set_name(name);
        Some(row)
    }

    /// All rows that are taken.
    pub(super) fn all(&self) -> impl Iterator<Item = LimitTotals> + use<> {
        let rows = self.rows().map(|row| row.get());
        rows.take_while(|totals| totals.scope != 0)
    }
}

impl TotalsRow {
    /// Counts a request.
    pub fn add(&self, is_dry_run: bool) {
        let [_, refused, would_refuse, ..] = self.words;
        let word = if is_dry_run { would_refuse } else { refused };
        word.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn get(&self) -> LimitTotals {
        let [scope, refused, would_refuse, name @ ..] = self.words;
        let bytes = name
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let name: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
        LimitTotals {
            scope: scope.load(Ordering::Relaxed),
            name: String::from_utf8_lossy(&name).into_owned(),
            refused: refused.load(Ordering::Relaxed),
            would_refuse: would_refuse.load(Ordering::Relaxed),
        }
    }

    fn set_name(&self, name: &str) {
        let [_, _, _, words @ ..] = self.words;
        // Cut between characters.
        let longest = name.len().min(MOST_NAME);
        let mut lengths = (0..=longest).rev();
        let length = lengths.find(|length| name.is_char_boundary(*length));
        let name = name.get(..length.unwrap_or(0)).unwrap_or_default();
        let mut chunks = name.as_bytes().chunks(8);
        for word in words {
            word.store(chunks.next().map_or(0, word_of), Ordering::Relaxed);
        }
    }
}
