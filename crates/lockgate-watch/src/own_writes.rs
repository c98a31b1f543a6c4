//! Files that the application writes itself at its import. A load that writes other content each time would cause the
//! next load for ever.
//!
//! A save by an editor during a load looks the same. The third reload in a row therefore waits until the file has been
//! left alone for a second: if the load after that writes it again, it is the application that does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Reloads in a row that follow at once.
const IMMEDIATE: u32 = 2;
/// Time without a write before the reload after those.
const QUIET: Duration = Duration::from_secs(1);

/// What follows from a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// A reload now.
    Reload,
    /// A reload after a time without writes (`take`).
    ReloadLater,
    /// No reload: the content is the same.
    Unchanged,
    /// No reload from now on, until the file changes while no process loads the application.
    IgnoredFromNowOn,
    Ignored,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct OwnWrites {
    /// Written during a load, and not decided yet.
    written: BTreeSet<PathBuf>,
    repeated: BTreeMap<PathBuf, Repeated>,
}

#[derive(Debug)]
struct Repeated {
    /// Loads in a row that were accompanied by a write with other content.
    loads: u32,
    /// The number of the last of these loads.
    last: u64,
    /// When its reload is due, if that waits.
    due: Option<Instant>,
}

impl OwnWrites {
    /// This file was written while a process was loading the application.
    pub(crate) fn note(&mut self, path: PathBuf) {
        self.written.insert(path);
    }

    /// What follows from the writes to this file since the last call. `load` is the number of the last load that has
    /// begun.
    pub(crate) fn judge(
        &mut self,
        path: &Path,
        is_new: bool,
        load: u64,
        now: Instant,
    ) -> Consequence {
        if !self.written.remove(path) {
            self.repeated.remove(path);
            return Consequence::Reload;
        }
        if !is_new {
            return Consequence::Unchanged;
        }
        let repeated = self.repeated.entry(path.to_owned()).or_insert(Repeated {
            loads: 0,
            last: load,
            due: None,
        });
        if repeated.loads == 0 || (repeated.last != load && repeated.due.is_none()) {
            repeated.loads += 1;
            repeated.last = load;
            if repeated.loads == IMMEDIATE + 2 {
                return Consequence::IgnoredFromNowOn;
            }
        }
        match repeated.loads {
            ..=IMMEDIATE => Consequence::Reload,
            loads if loads == IMMEDIATE + 1 => {
                repeated.due = Some(now + QUIET);
                Consequence::ReloadLater
            }
            _ => Consequence::Ignored,
        }
    }

    /// When the first reload that waits is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.repeated.values().filter_map(|one| one.due).min()
    }

    /// The files whose reload has waited long enough.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<PathBuf> {
        let mut taken = Vec::new();
        for (path, repeated) in &mut self.repeated {
            if repeated.due.is_some_and(|due| due <= now) {
                repeated.due = None;
                taken.push(path.clone());
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::Consequence::*;
    use super::*;

    /// Each write: whether it is during a load, its content is new, the number of the load, and the time in
    /// milliseconds.
    type Write = (bool, bool, u64, u64);

    #[test]
    fn a_file_that_each_load_changes_is_ignored_until_it_changes_at_another_time() {
        let cases: &[(&str, &[(Write, Consequence)])] = &[
            (
                "always the same",
                &[
                    ((true, false, 1, 0), Unchanged),
                    ((true, false, 2, 100), Unchanged),
                ],
            ),
            (
                "another one in each load",
                &[
                    ((true, true, 1, 0), Reload),
                    ((true, true, 2, 100), Reload),
                    ((true, true, 3, 200), ReloadLater),
                    ((true, true, 4, 2000), IgnoredFromNowOn),
                    ((true, true, 5, 2100), Ignored),
                    ((false, true, 5, 9000), Reload),
                    ((true, true, 6, 9100), Reload),
                ],
            ),
            (
                "saves during one long load",
                &[
                    ((true, true, 1, 0), Reload),
                    ((true, true, 1, 100), Reload),
                    ((true, true, 1, 200), Reload),
                    ((true, true, 1, 300), Reload),
                ],
            ),
            (
                "saves all the time: the reload that waits is not counted before it has happened",
                &[
                    ((true, true, 1, 0), Reload),
                    ((true, true, 2, 100), Reload),
                    ((true, true, 3, 200), ReloadLater),
                    ((true, true, 4, 300), ReloadLater),
                    ((true, true, 5, 400), ReloadLater),
                    ((false, true, 5, 500), Reload),
                ],
            ),
        ];
        let start = Instant::now();
        let path = Path::new("/srv/build.py");
        for (name, writes) in cases {
            let mut files = OwnWrites::default();
            for ((is_loading, is_new, load, millis), expected) in *writes {
                let now = start + Duration::from_millis(*millis);
                files.take(now);
                if *is_loading {
                    files.note(path.to_owned());
                }
                let found = files.judge(path, *is_new, *load, now);
                assert_eq!(found, *expected, "{name}: {millis} ms");
            }
        }
    }

    #[test]
    fn a_reload_that_waits_is_due_a_second_after_the_last_write() {
        let start = Instant::now();
        let path = Path::new("/srv/build.py");
        let mut files = OwnWrites::default();
        for load in 1..=3 {
            files.note(path.to_owned());
            files.judge(path, true, load, start);
        }
        assert_eq!(files.due(), Some(start + QUIET));
        files.note(path.to_owned());
        let later = start + QUIET / 2;
        assert_eq!(files.judge(path, true, 4, later), ReloadLater);
        assert!(files.take(start + QUIET).is_empty());
        assert_eq!(files.take(later + QUIET), [path]);
        assert_eq!((files.due(), files.take(later + QUIET)), (None, Vec::new()));
    }
}
