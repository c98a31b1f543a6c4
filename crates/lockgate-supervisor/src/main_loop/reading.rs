//! Reads the scoreboard: response counts of workers, and the requests that were running when a worker died.

use super::{MainLoop, admin};
use crate::Unfinished;
use crate::measures::responses;
use crate::supervisor::Event;

impl MainLoop {
    /// The response counts of every worker so far.
    pub(super) fn count_responses(&self) -> Event {
        let children = self.children.iter().map(|(pid, child)| (*pid, child.slot));
        Event::Counted(responses(children, self.page))
    }

    /// Clears a dead worker's seat for its successor; returns its unfinished requests.
    pub(super) fn take_off_page(&self, pid: u32, slot: usize) -> Vec<Unfinished> {
        let Some(page) = self.page else {
            return Vec::new();
        };
        let calls = page.unfinished(slot, pid).into_iter();
        let now = admin::monotonic_nanos();
        let unfinished = calls.filter_map(|call| Unfinished::of(call, now)).collect();
        page.clear(slot);
        unfinished
    }
}
