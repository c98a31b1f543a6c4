//! The watch over the files of one certificate: when they are read again, and when a failure is logged.
//!
//! Certificate and key are replaced one after the other, and some programs write in place. So a failure is not logged
//! before the files have stayed unusable for [`PATIENCE`].

use std::time::{Duration, Instant};

/// How long changed files are read again before a failure is logged.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// See the module. `I` identifies one version of the files.
#[derive(Debug)]
pub(super) struct Watch<I> {
    seen: I,
    /// Since when the files have differed from what was loaded.
    changed_at: Option<Instant>,
}

impl<I: PartialEq> Watch<I> {
    /// For files that were just loaded in this version.
    pub(super) fn new(loaded: I) -> Self {
        Self {
            seen: loaded,
            changed_at: None,
        }
    }

    /// For files that could not be used.
    pub(super) fn changed(version: I, now: Instant) -> Self {
        Self {
            seen: version,
            changed_at: Some(now),
        }
    }

    /// The files have this version now. Returns whether to read them.
    pub(super) fn look(&mut self, version: I, now: Instant) -> bool {
        if version != self.seen {
            self.seen = version;
            // A program that writes for a long time does not postpone the report.
            self.changed_at.get_or_insert(now);
        }
        self.changed_at.is_some()
    }

    /// The files could be used.
    pub(super) fn on_loaded(&mut self) {
        self.changed_at = None;
    }

    /// The files could not be used. Returns whether to log that; afterwards they are read again after their next change.
    pub(super) fn on_failed(&mut self, now: Instant) -> bool {
        let is_due = |at: &mut Instant| now.saturating_duration_since(*at) >= PATIENCE;
        self.changed_at.take_if(is_due).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found at a look: a version of the files, and whether they can be used.
    type Look = (&'static str, bool);

    /// Looks every two seconds. Returns for each `-` (not read), `+` (loaded), `.` (failed) or `!` (failed and logged).
    fn outcomes(looks: &[Look]) -> String {
        let start = Instant::now();
        let mut watch = Watch::new("first");
        let mut now = start;
        let mut outcome = |&(version, is_usable): &Look| {
            now += Duration::from_secs(2);
            if !watch.look(version, now) {
                return '-';
            }
            if is_usable {
                watch.on_loaded();
                return '+';
            }
            if watch.on_failed(now) { '!' } else { '.' }
        };
        looks.iter().map(&mut outcome).collect()
    }

    #[test]
    fn files_are_read_after_a_change_and_a_lasting_failure_is_logged_once() {
        const FIRST: Look = ("first", true);
        const NEW: Look = ("new", true);
        const BROKEN: Look = ("broken", false);
        const DELETED: Look = ("", false);
        const HALF: Look = ("half", false);
        let table: &[(&str, &[Look], &str)] = &[
            ("unchanged", &[FIRST, FIRST, FIRST], "---"),
            (
                "renamed or another target of the link",
                &[FIRST, NEW, NEW],
                "-+-",
            ),
            (
                "certificate first and then its key",
                &[HALF, HALF, NEW, NEW],
                "..+-",
            ),
            ("broken", &[BROKEN; 8], "....!---"),
            ("deleted", &[DELETED; 6], "....!-"),
            (
                "broken and then replaced",
                &[BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, NEW, NEW],
                "....!-+-",
            ),
            (
                "broken and then restored to the old version",
                &[BROKEN, BROKEN, FIRST, FIRST],
                "..+-",
            ),
            (
                "written again and again, never usable",
                &[
                    ("1", false),
                    ("2", false),
                    ("3", false),
                    ("4", false),
                    ("5", false),
                    ("6", false),
                ],
                "....!.",
            ),
            (
                "usable only at a later reading, as after a change of access",
                &[("new", false), ("new", false), ("new", true), ("new", true)],
                "..+-",
            ),
        ];
        for (name, looks, expected) in table {
            assert_eq!(outcomes(looks), *expected, "{name}");
        }
    }
}
