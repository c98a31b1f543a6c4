//! Connection slots: where a connection is stored while no request of it runs.
//!
//! A slot belongs to the event loop's table; the connection in it is taken out only by the event loop, on an event. While a thread pool
//! thread runs the request, the slot is empty and events are only recorded in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::event_loop::poller::Readiness;
use crate::hold::Hold;
use crate::http1::Connection;

/// One place in the table.
pub struct Slot {
    token: u64,
    hold: Hold,
    state: Mutex<SlotState>,
}

/// The state behind a slot's lock.
#[derive(Default)]
pub struct SlotState {
    /// The connection, unless it is lent to a worker thread.
    pub connection: Option<Box<Connection>>,
    /// Edges that were reported while it was lent.
    pub pending: Readiness,
    /// The earliest timer entry that is armed for it.
    pub armed: Option<Instant>,
    /// It is in the event loop's queue of connections that yielded.
    pub is_queued: bool,
}

impl Slot {
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether the application has not finished with the connection's last request.
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    pub fn lock(&self) -> MutexGuard<'_, SlotState> {
        // Only an allocation can panic under this lock; the state is plain fields and stays valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All slots of a event loop. A token is an index and a generation, so that an event reported for an earlier user of the
/// index (or descriptor) finds no connection.
#[derive(Default)]
pub struct SlotTable {
    slots: Vec<Option<Arc<Slot>>>,
    free: Vec<u32>,
    generation: u32,
    in_use: usize,
}

impl SlotTable {
    pub fn insert(&mut self) -> Arc<Slot> {
        // Generations are shared by all indices and never 0, so that no token equals a listener's or the waker's.
        self.generation = self.generation.wrapping_add(1).max(1);
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let token = u64::from(self.generation) << 32 | u64::from(index);
        let slot = Arc::new(Slot {
            token,
            hold: Hold::default(),
            state: Mutex::default(),
        });
        self.slots[index as usize] = Some(Arc::clone(&slot));
        self.in_use += 1;
        slot
    }

    pub fn get(&self, token: u64) -> Option<&Arc<Slot>> {
        self.slots
            .get(index_of(token))?
            .as_ref()
            .filter(|slot| slot.token == token)
    }

    pub fn remove(&mut self, token: u64) {
        if self.get(token).is_some() {
            let index = index_of(token);
            self.slots[index] = None;
            self.free.push(index as u32);
            self.in_use -= 1;
        }
    }

    /// Number of connections of this event loop, lent ones included.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.iter().flatten()
    }
}

fn index_of(token: u64) -> usize {
    (token & 0xFFFF_FFFF) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_an_earlier_user_finds_nobody() {
        let mut table = SlotTable::default();
        let first = table.insert().token();
        let second = table.insert().token();
        assert!(table.get(first).is_some() && table.get(second).is_some());
        table.remove(first);
        assert!(table.get(first).is_none());
        let third = table.insert().token();
        assert_eq!(
            third & 0xFFFF_FFFF,
            first & 0xFFFF_FFFF,
            "the index is used again"
        );
        assert!(table.get(first).is_none() && table.get(third).is_some());
        table.remove(first);
        assert_eq!(table.in_use(), 2, "removing a stale token removes nobody");
    }
}
