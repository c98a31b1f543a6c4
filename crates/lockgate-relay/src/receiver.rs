//! The receiving half: entries of other servers go from the stream to this server, in order.
//!
//! A message is taken once: a record that is appended to the broadcast log has the id of its entry, so the log itself
//! says how far this server has come. Redis keeps that, too, for a log in which there is no such record.

use std::sync::Arc;

use crate::failure::Failure;
use crate::server::{EntryId, Server};
use crate::traffic::Traffic;

/// See the module.
pub(crate) struct Receiver {
    traffic: Arc<dyn Traffic>,
    /// The origin of this server's own entries.
    origin: String,
    /// When this process has started, in milliseconds of the monotonic clock.
    started: u64,
    /// The last entry that was read.
    position: Option<EntryId>,
    /// What Redis keeps as the position.
    remembered: Option<EntryId>,
    remembered_at: u64,
}

/// Entries that were not taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) count: usize,
    /// What is wrong with the first one.
    pub(crate) problem: String,
}

/// Milliseconds after which Redis gets a new position, and after which it gets the same again, lest it forgets.
const REMEMBER_CHANGED: u64 = 10_000;
const REMEMBER_SAME: u64 = 3_600_000;

impl Receiver {
    /// `now` is in nanoseconds of the monotonic clock, as are the times in the log.
    pub(crate) fn new(traffic: Arc<dyn Traffic>, origin: String, now: u64) -> Self {
        Self {
            traffic,
            origin,
            started: to_milliseconds(now),
            position: None,
            remembered: None,
            remembered_at: 0,
        }
    }

    /// Begins on a new connection. Returns false if the stream has entries no more that were not read.
    pub(crate) fn begin(&mut self, server: &mut dyn Server, now: u64) -> Result<bool, Failure> {
        let state = server.state()?;
        let known = self
            .position
            .or_else(|| state.read.max(self.traffic.last_taken()));
        let position = known.unwrap_or_else(|| {
            // The clock of Redis at the start of this process: older messages are not news.
            let age = to_milliseconds(now).saturating_sub(self.started);
            EntryId {
                milliseconds: state.milliseconds.saturating_sub(age),
                number: 0,
            }
        });
        // A last entry before the position is that of a Redis server that has lost data: new ones follow it.
        let position = position.min(state.last);
        self.position = Some(position);
        self.remember(server, position, to_milliseconds(now))?;
        Ok(!state.is_full || state.first <= position)
    }

    /// Waits for entries and takes them.
    pub(crate) fn step(&mut self, server: &mut dyn Server, now: u64) -> Result<Dropped, Failure> {
        let mut position = self.position.unwrap_or_default();
        let entries = server.read(position)?;
        let mut dropped = Dropped::default();
        for entry in entries {
            if entry.origin != self.origin
                && let Err(problem) = self.traffic.take(&entry, now)
            {
                if dropped.count == 0 {
                    dropped.problem = problem;
                }
                dropped.count += 1;
            }
            position = entry.id;
            self.position = Some(position);
        }
        let now = to_milliseconds(now);
        let after = match self.remembered == Some(position) {
            true => REMEMBER_SAME,
            false => REMEMBER_CHANGED,
        };
        if now.saturating_sub(self.remembered_at) >= after {
            self.remember(server, position, now)?;
        }
        Ok(dropped)
    }

    fn remember(
        &mut self,
        server: &mut dyn Server,
        position: EntryId,
        now: u64,
    ) -> Result<(), Failure> {
        server.remember(position)?;
        self.remembered = Some(position);
        self.remembered_at = now;
        Ok(())
    }
}

fn to_milliseconds(nanoseconds: u64) -> u64 {
    nanoseconds / 1_000_000
}
