//! When a change is reported: a short time after the last write, because a save is several system calls, and a checkout
//! writes many files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The writer has closed the file, or has put a complete one in its place.
const COMPLETE: Duration = Duration::from_millis(10);
/// The file is being written, or is away: its writer, or a file that takes its place, is likely to come.
const INCOMPLETE: Duration = Duration::from_millis(100);
/// Several files: a checkout, or "save all".
const SEVERAL: Duration = Duration::from_millis(50);
/// More files than this are several.
const FEW: usize = 2;
/// A change waits no longer than this for others to end.
const LONGEST: Duration = Duration::from_secs(1);

/// How far a write has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Incomplete,
    Complete,
}

/// Changes that are not reported yet.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// Each file with the time at which it counts as written.
    changes: BTreeMap<PathBuf, Instant>,
    first: Option<Instant>,
}

impl Settling {
    /// Whether this file has changed and is not reported yet.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.changes.contains_key(path)
    }

    /// A file has changed.
    pub(crate) fn note(&mut self, path: PathBuf, stage: Stage, now: Instant) {
        let quiet = match stage {
            Stage::Incomplete => INCOMPLETE,
            Stage::Complete if self.changes.len() < FEW => COMPLETE,
            Stage::Complete => SEVERAL,
        };
        self.first.get_or_insert(now);
        self.changes.insert(path, now + quiet);
    }

    /// When the changes are to be reported.
    pub(crate) fn due(&self) -> Option<Instant> {
        let last = self.changes.values().max()?;
        Some((*last).min(self.first? + LONGEST))
    }

    /// The changes, in the order of their names, if they are to be reported now.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<PathBuf> {
        if self.due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.first = None;
        std::mem::take(&mut self.changes).into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Stage::{Complete, Incomplete};
    use super::*;

    /// Writes, each with its time in milliseconds.
    type Writes = &'static [(&'static str, Stage, u64)];

    /// Writes, and when the changes are due.
    #[test]
    fn changes_are_due_shortly_after_the_last_write() {
        let cases: &[(Writes, u64)] = &[
            (&[("a", Complete, 0)], 10),
            (&[("a", Incomplete, 0)], 100),
            // Truncated, written, closed.
            (
                &[
                    ("a", Incomplete, 0),
                    ("a", Incomplete, 1),
                    ("a", Complete, 2),
                ],
                12,
            ),
            // Another file is still being written.
            (&[("b", Incomplete, 0), ("a", Complete, 2)], 100),
            (&[("a", Complete, 0), ("b", Complete, 5)], 15),
            (
                &[("a", Complete, 0), ("b", Complete, 5), ("c", Complete, 8)],
                58,
            ),
            // Written all the time.
            (&[("a", Incomplete, 0), ("a", Incomplete, 950)], 1000),
        ];
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        for (writes, due) in cases {
            let mut settling = Settling::default();
            for (path, stage, millis) in *writes {
                settling.note(PathBuf::from(path), *stage, at(*millis));
                assert!(settling.has(Path::new(path)));
            }
            assert_eq!(settling.due(), Some(at(*due)), "{writes:?}");
            assert!(settling.take(at(*due - 1)).is_empty());
            assert!(!settling.take(at(*due)).is_empty());
            assert_eq!(settling.due(), None);
        }
    }
}
