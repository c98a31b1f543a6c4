//! A file that is served: its representations, and how long what is known of them counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lockgate_http::accept_encoding::{Choice, choose};

use crate::representation::{Content, Representation, Selection};
use crate::stamp::{STEP, Stamp};

/// A coding in which a file may lie beside the plain one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coding {
    /// What follows the name of the plain file.
    pub(crate) suffix: &'static str,
    /// Its name in Accept-Encoding and Content-Encoding.
    pub(crate) token: &'static str,
}

/// In the order of preference for equal sizes.
pub(crate) const CODINGS: [Coding; 3] = [
    Coding {
        suffix: ".zst",
        token: "zstd",
    },
    Coding {
        suffix: ".br",
        token: "br",
    },
    Coding {
        suffix: ".gz",
        token: "gzip",
    },
];

/// The plain file and its sidecars as the file system has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamps {
    pub(crate) plain: Stamp,
    /// In the order of [`CODINGS`].
    pub(crate) sidecars: [Option<Stamp>; CODINGS.len()],
}

/// See the module documentation.
#[derive(Debug)]
pub struct Entry {
    stamps: Stamps,
    plain: Representation,
    /// The smallest first.
    coded: Vec<(Coding, Representation)>,
    /// Its tags are weak, because the files have just changed.
    is_provisional: bool,
    /// When the files were looked at last, in nanoseconds of the caller's clock.
    checked_at: AtomicU64,
    is_being_checked: AtomicBool,
}

/// Whether an entry may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// The caller has to look at the files.
    Stale,
}

impl Entry {
    pub(crate) fn new(
        stamps: Stamps,
        plain: Representation,
        mut coded: Vec<(Coding, Representation)>,
        is_provisional: bool,
    ) -> Self {
        coded.sort_by_key(|(_, representation)| representation.length());
        Self {
            stamps,
            plain,
            coded,
            is_provisional,
            checked_at: AtomicU64::new(0),
            is_being_checked: AtomicBool::new(false),
        }
    }

    /// The representation that the client prefers; among equals the smallest one.
    #[inline]
    pub fn select(&self, selection: &Selection<'_>) -> &Representation {
        match &selection.accept_encoding {
            Some(field) if !self.coded.is_empty() => self.select_coded(field),
            _ => &self.plain,
        }
    }

    fn select_coded(&self, field: &[u8]) -> &Representation {
        let mut offered = [&b""[..]; CODINGS.len()];
        for (place, (coding, _)) in offered.iter_mut().zip(&self.coded) {
            *place = coding.token.as_bytes();
        }
        let offered = &offered[..self.coded.len().min(offered.len())];
        match choose(Some(field), offered) {
            Choice::Index(index) => self.coded.get(index).map_or(&self.plain, |(_, one)| one),
            // Where nothing is acceptable the plain file is better than an error (RFC 9110 §12.5.3).
            Choice::Identity | Choice::NotAcceptable => &self.plain,
        }
    }

    /// Whether it describes these files, so that nothing has to be read again.
    pub(crate) fn describes(&self, stamps: &Stamps) -> bool {
        self.stamps == *stamps && !self.is_provisional
    }

    /// Records that the files have been looked at.
    pub(crate) fn record_check(&self, now: u64) {
        self.checked_at.store(now, Ordering::Relaxed);
        self.is_being_checked.store(false, Ordering::Relaxed);
    }

    /// For `valid` after a check it is fresh. For the same time again it is fresh for all but one caller, which looks at
    /// the files, so that a busy file is looked at once and not by every request.
    pub(crate) fn freshness(&self, now: u64, valid: Duration) -> Freshness {
        // Its tags become strong when the files have kept their state for a while.
        let valid = if self.is_provisional {
            valid.min(STEP)
        } else {
            valid
        };
        let valid = u64::try_from(valid.as_nanos()).unwrap_or(u64::MAX);
        let age = now.saturating_sub(self.checked_at.load(Ordering::Relaxed));
        if age < valid {
            return Freshness::Fresh;
        }
        let is_first = !self.is_being_checked.swap(true, Ordering::Relaxed);
        if is_first || age >= valid.saturating_mul(2) {
            Freshness::Stale
        } else {
            Freshness::Fresh
        }
    }

    fn representations(&self) -> impl Iterator<Item = &Representation> {
        std::iter::once(&self.plain).chain(self.coded.iter().map(|(_, one)| one))
    }

    /// Descriptors that it keeps open.
    pub(crate) fn descriptors(&self) -> usize {
        let is_open = |one: &&Representation| matches!(one.content(), Content::File(..));
        self.representations().filter(is_open).count()
    }

    /// Bytes of content in memory.
    pub(crate) fn memory(&self) -> usize {
        let size = |one: &Representation| match one.content() {
            Content::Memory(bytes) => bytes.len(),
            Content::File(..) => 0,
        };
        self.representations().map(size).sum()
    }
}

/// An entry that several requests use.
pub type SharedEntry = Arc<Entry>;
