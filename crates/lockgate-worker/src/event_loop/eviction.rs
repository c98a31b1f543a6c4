//! Eviction: when no connection is free for a new client, the keep-alive connection that was idle longest is closed.

use std::time::{Duration, Instant};

use super::EventLoop;
use crate::connection::Activity;

/// A connection that was idle for less is likely to get its next request now: its client would see it fail.
pub(super) const MIN_IDLE: Duration = Duration::from_secs(1);

impl EventLoop {
    /// At most `most` keep-alive connections without a request, the one that was idle longest first.
    pub(super) fn find_evictable(&self, keep_alive: Duration, most: usize) -> Vec<u64> {
        // A keep-alive connection ends `keep_alive` after its last response.
        let Some(latest) = (self.turn.now + keep_alive).checked_sub(MIN_IDLE) else {
            return Vec::new();
        };
        let mut idle: Vec<(Instant, u64)> = (self.slots.iter())
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
        idle.retain(|&(_, token)| self.is_silent(token));
        idle.into_iter().map(|(_, token)| token).collect()
    }

    /// Closes such a connection, as at the end of `keep_alive`.
    pub(super) fn evict(&mut self, token: u64) {
        if let Some(connection) = self.slots.take(token) {
            self.time_out(connection);
        }
    }

    /// Whether the kernel holds no input for it that this turn has not seen yet.
    fn is_silent(&self, token: u64) -> bool {
        self.slots.get(token).is_some_and(|slot| {
            (slot.lock().connection.as_ref())
                .is_some_and(|connection| connection.link().is_silent())
        })
    }
}
