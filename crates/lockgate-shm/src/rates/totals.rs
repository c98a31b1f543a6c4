//! How many requests each limit has refused, over all workers.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many limits can be counted since the start of the server.
const ROWS: usize = 256;
/// A row has a cache line of its own.
const ROW_WORDS: usize = 8;
pub(super) const WORDS: usize = ROWS * ROW_WORDS;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitTotals {
    /// Requests that were refused.
    pub refused: u64,
    /// Requests that were served and would have been refused without the dry run.
    pub would_refuse: u64,
}

impl Totals {
    pub(super) fn new(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    /// The row of a scope; `None`: all are taken by others.
    pub(super) fn row(&self, scope: u64) -> Option<TotalsRow> {
        let (rows, _) = self.words.as_chunks::<ROW_WORDS>();
        // A row is taken by one exchange and never given back, and all look in the same order: a scope has one row.
        let words = rows.iter().find(|[name, ..]| {
            let taken = name.compare_exchange(0, scope, Ordering::SeqCst, Ordering::SeqCst);
            taken.is_ok() || taken == Err(scope)
        })?;
        Some(TotalsRow { words })
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
        let [_, refused, would_refuse, ..] = self.words;
        LimitTotals {
            refused: refused.load(Ordering::Relaxed),
            would_refuse: would_refuse.load(Ordering::Relaxed),
        }
    }
}
