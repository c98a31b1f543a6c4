//! The processes that are loading the application: whether a file was written meanwhile, and by whom.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

/// The report that a load has ended and the notification of a write before it come on two ways.
const SLACK: Duration = Duration::from_millis(50);
/// The longest tick of a kernel's clock (100 Hz).
const TICK: Duration = Duration::from_millis(10);
/// Processes that have died while they loaded are not reported; at most this many are remembered.
const MOST: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// When each process has begun.
    begun: HashMap<u32, SystemTime>,
    /// When the report of the last end came, by both clocks.
    last_end: Option<(Instant, SystemTime)>,
    /// How many have begun.
    count: u64,
}

impl Loads {
    pub(crate) fn begin(&mut self, pid: u32, at: SystemTime) {
        if self.begun.len() >= MOST {
            self.begun.clear();
        }
        self.begun.insert(pid, at);
        self.count += 1;
    }

    /// The number of the last load that has begun.
    pub(crate) fn last(&self) -> u64 {
        self.count
    }

    pub(crate) fn end(&mut self, pid: u32, now: Instant, time: SystemTime) {
        self.begun.remove(&pid);
        self.last_end = Some((now, time));
    }

    /// Whether a write at the time `written`, noticed now, may be from a process that loads the application. A load that
    /// does not end is over when its process has gone.
    pub(crate) fn may_have_written(
        &mut self,
        written: Option<SystemTime>,
        now: Instant,
        exists: impl Fn(u32) -> bool,
    ) -> bool {
        self.begun.retain(|&pid, _| exists(pid));
        let is_before = |(end, time): (Instant, SystemTime)| {
            now.saturating_duration_since(end) < SLACK
                && written.is_none_or(|written| written <= time)
        };
        !self.begun.is_empty() || self.last_end.is_some_and(is_before)
    }

    /// Whether a process that loads the application had begun when a file was written. Times of files lag behind by a
    /// tick of the kernel's clock.
    pub(crate) fn has_begun_before(&self, written: SystemTime) -> bool {
        self.begun.values().any(|begun| *begun <= written + TICK)
    }

    /// Whether a file that this process has loaded was written after it had begun, so that it is unknown what it has
    /// loaded. A time in the future is no evidence: the clock of another machine, or touch(1).
    pub(crate) fn is_overtaken(&self, pid: u32, written: SystemTime, now: SystemTime) -> bool {
        let begun = self.begun.get(&pid);
        begun.is_some_and(|begun| *begun < written) && written <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_during_its_load_may_have_changed() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let start = Instant::now();
        let mut loads = Loads::default();
        assert!(!loads.may_have_written(Some(at(20)), start, |_| true));
        assert!(!loads.is_overtaken(7, at(11), at(20)));
        loads.begin(7, at(10));
        assert!(loads.may_have_written(Some(at(20)), start, |pid| pid == 7));
        assert!(loads.has_begun_before(at(10)));
        assert!(!loads.has_begun_before(at(9)));
        for (pid, written, expected) in [
            (7, 9, false),
            (7, 11, true),
            (7, 20, true),
            (7, 21, false),
            (8, 11, false),
        ] {
            assert_eq!(
                loads.is_overtaken(pid, at(written), at(20)),
                expected,
                "{pid} {written}"
            );
        }
        loads.end(7, start, at(25));
        assert!(loads.may_have_written(Some(at(20)), start + SLACK / 2, |_| true));
        assert!(!loads.may_have_written(Some(at(20)), start + SLACK, |_| true));
        let after = Some(at(26));
        assert!(!loads.may_have_written(after, start + SLACK / 2, |_| true));
        loads.begin(8, at(30));
        assert!(loads.may_have_written(Some(at(20)), start + SLACK, |pid| pid == 8));
        assert!(
            !loads.may_have_written(Some(at(20)), start + SLACK, |_| false),
            "it was killed"
        );
    }
}
