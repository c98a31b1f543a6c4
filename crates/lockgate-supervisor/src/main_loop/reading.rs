//! What the hands read from the shared page: what workers have answered, and what they were running when they died.
//! Judges nothing.

use super::{MainLoop, admin};
use crate::Unfinished;
use crate::measures::responses;
use crate::supervisor::Event;

impl MainLoop {
    /// What every worker has answered so far.
    pub(super) fn count_responses(&self) -> Event {
        let children = self.children.iter().map(|(pid, child)| (*pid, child.slot));
        Event::Counted(responses(children, self.page))
    }

    /// What a dead worker leaves on the page, which is for its successor now.
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
