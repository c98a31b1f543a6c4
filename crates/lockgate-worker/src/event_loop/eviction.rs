//! Eviction: when no connection is free for a new client, the keep-alive connection that was idle longest is closed.

use std::time::{Duration, Instant};

use crate::connection::Activity;
use crate::connection::slot::{Slot, SlotTable};

/// A connection that was idle for less is likely to get its next request now: its client would see it fail.
pub(super) const MIN_IDLE: Duration = Duration::from_secs(1);

/// The tokens of at most `most` keep-alive connections without a request, the one that was idle longest first.
pub(super) fn find_evictable(
    slots: &SlotTable,
    keep_alive: Duration,
    most: usize,
    now: Instant,
) -> Vec<u64> {
    // A keep-alive connection ends `keep_alive` after its last response.
    let Some(latest) = (now + keep_alive).checked_sub(MIN_IDLE) else {
        return Vec::new();
    };
    let mut idle: Vec<(Instant, u64)> = (slots.iter())
        .filter_map(|slot| {
            let state = slot.lock();
            let connection = state.connection.as_ref()?;
            let deadline = connection.link().deadline;
            let is_idle = connection.activity() == Activity::KeepAlive
                && !slot.hold().is_held()
                && deadline <= latest
                && !state.pending.any()
                && !state.is_queued;
            is_idle.then_some((deadline, slot.token()))
        })
        .collect();
    if idle.len() > most {
        idle.select_nth_unstable(most);
        idle.truncate(most);
    }
    idle.sort_unstable();
    idle.retain(|&(_, token)| slots.get(token).is_some_and(|slot| is_silent(slot)));
    idle.into_iter().map(|(_, token)| token).collect()
}

/// Whether the kernel holds no input for the connection that this turn has not seen yet.
fn is_silent(slot: &Slot) -> bool {
    (slot.lock().connection.as_ref()).is_some_and(|connection| connection.link().is_silent())
}
