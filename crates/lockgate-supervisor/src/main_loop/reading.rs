//! Reads the scoreboard: response counts of workers, and the requests that were running when a worker died.

use super::{MainLoop, admin};
use crate::Unfinished;
use crate::measures::responses;
use crate::supervisor::Event;

impl MainLoop {
    /// The response counts of every worker so far.
    pub(super) fn count_responses(&self) -> Event {
        let children = self.children.iter().map(|(pid, child)| (*pid, child.slot));
        Event::Counted(responses(children, self.scoreboard))
    }

    /// Clears the scoreboard slot of a dead worker for its successor; returns the requests that were in flight.
    pub(super) fn take_off_page(&self, pid: u32, slot: usize) -> Vec<Unfinished> {
        let Some(scoreboard) = self.scoreboard else {
            return Vec::new();
        };
        let calls = scoreboard.in_flight(slot, pid).into_iter();
        let now = admin::monotonic_nanos();
        let unfinished = calls.filter_map(|call| Unfinished::of(call, now)).collect();
        scoreboard.clear(slot);
        unfinished
    }
}
