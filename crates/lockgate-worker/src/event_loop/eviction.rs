//! Eviction: when no connection is free for a new client, the keep-alive connection that was idle longest is closed.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::EventLoop;
use crate::http1::{Connection, Next};

/// A connection that was idle for less is likely to get its next request now: its client would see it fail.
pub(super) const LEAST_IDLE: Duration = Duration::from_secs(1);

impl EventLoop {
    /// At most `most` keep-alive connections without a request, the one that was idle longest first.
    pub(super) fn find_evictable(&self, keep_alive: Duration, most: usize) -> Vec<u64> {
        // A keep-alive connection ends `keep_alive` after its last response.
        let Some(latest) = (self.scratch.now + keep_alive).checked_sub(LEAST_IDLE) else {
            return Vec::new();
        };
        let mut idle: Vec<(Instant, u64)> = (self.slots.iter())
            .filter_map(|slot| {
                let state = slot.lock();
                let connection = state.connection.as_ref()?;
                let is_idle = connection.is_kept()
                    && !slot.hold().is_held()
                    && connection.deadline <= latest
                    && !state.pending.any()
                    && !state.is_queued;
                is_idle.then_some((connection.deadline, slot.token()))
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
        let held = self
            .slots
            .get(token)
            .and_then(|slot| slot.lock().connection.take());
        if let Some(mut connection) = held {
            match connection.expire(self.scratch.now) {
                Next::Close => self.close(connection),
                _ => self.drive(connection),
            }
        }
    }

    /// Whether the kernel holds no input for it that this turn has not seen yet.
    fn is_silent(&self, token: u64) -> bool {
        let Some(slot) = self.slots.get(token) else {
            return false;
        };
        slot.lock().connection.as_deref().is_some_and(has_no_input)
    }
}

fn has_no_input(connection: &Connection) -> bool {
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut watched = [PollFd::from_borrowed_fd(
        connection.transport.descriptor(),
        PollFlags::IN,
    )];
    poll(&mut watched, Some(&at_once)).is_ok_and(|ready| ready == 0)
}
