//! Connection slots: where a connection is stored while no thread works on it.
//!
//! A slot belongs to the event loop's table; the connection in it is taken out only by the event loop, on an event.
//! While a thread runs the request, the slot is empty and events are only recorded in it.

use std::sync::Arc;
use std::time::Instant;

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

use super::Protocol;
use super::hold::{self, Hold};
use super::inbox::{Inbox, Returned};
use crate::exchange::writer::{Held, HeldConnection};
use crate::poller::Readiness;

/// One place in the table.
pub struct Slot {
    token: u64,
    hold: Hold,
    content: SlotContent<Box<dyn Protocol>>,
    inbox: Arc<Inbox>,
}

/// What a slot holds, behind its lock.
pub struct SlotContent<C>(Mutex<SlotState<C>>);

/// See [`SlotContent`].
pub struct SlotState<C> {
    /// The connection, unless a thread has it.
    pub connection: Option<C>,
    /// Edges that were reported while a thread had it.
    pub pending: Readiness,
    /// The earliest timer entry that is armed for it.
    pub armed: Option<Instant>,
    /// It is in the event loop's queue of connections that yielded.
    pub is_queued: bool,
}

impl<C> SlotContent<C> {
    fn new() -> Self {
        Self(Mutex::new(SlotState {
            connection: None,
            pending: Readiness::default(),
            armed: None,
            is_queued: false,
        }))
    }

    pub fn lock(&self) -> MutexGuard<'_, SlotState<C>> {
        // Only an allocation can panic under this lock; the state is plain fields and stays valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection out, unless a thread has it.
    pub fn take(&self) -> Option<C> {
        self.lock().connection.take()
    }

    /// For a thread that has sent the response: stores the connection until the next event. Returns the connection if
    /// the event loop has to drive it: because of an edge that was reported meanwhile and will not be reported again,
    /// or because no timer is armed that is early enough for its deadline.
    pub fn store(&self, connection: C, deadline: Instant) -> Option<C> {
        let mut state = self.lock();
        let has_news = state.pending.readable || state.pending.read_closed || state.pending.hung_up;
        if has_news || state.armed.is_none_or(|armed| deadline < armed) {
            return Some(connection);
        }
        state.pending = Readiness::default();
        state.connection = Some(connection);
        None
    }
}

impl Slot {
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether the application has not finished with the connection's last request.
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    pub fn content(&self) -> &SlotContent<Box<dyn Protocol>> {
        &self.content
    }

    pub fn lock(&self) -> MutexGuard<'_, SlotState<Box<dyn Protocol>>> {
        self.content.lock()
    }
}

impl Slot {
    /// Keeps the connection's next request back until the value is dropped.
    pub fn begin_hold(self: &Arc<Self>) -> HeldConnection {
        self.hold().begin();
        let held: Arc<Self> = Arc::clone(self);
        HeldConnection::new(held)
    }
}

impl Held for Slot {
    fn release(&self) {
        match self.hold().end() {
            hold::NEXT_WAITS => self.inbox.push(Returned::Released(self.token()), true),
            hold::SLOT_WAITS => self.inbox.push_closed(self.token()),
            _ => {}
        }
    }
}

/// All slots of an event loop. A token is an index and a generation, so that an event reported for an earlier user of
/// the index (or descriptor) finds no connection.
pub struct SlotTable {
    slots: Vec<Option<Arc<Slot>>>,
    free: Vec<u32>,
    generation: u32,
    in_use: usize,
    inbox: Arc<Inbox>,
}

impl SlotTable {
    pub fn new(inbox: Arc<Inbox>) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
            in_use: 0,
            inbox,
        }
    }

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
            content: SlotContent::new(),
            inbox: Arc::clone(&self.inbox),
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

    /// Takes the connection out of the slot with this token, unless a thread has it.
    pub fn take(&self, token: u64) -> Option<Box<dyn Protocol>> {
        self.get(token)?.content.take()
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

    /// The tokens of all connections, so that each can be taken out while the table changes.
    pub fn tokens(&self) -> Vec<u64> {
        self.iter().map(|slot| slot.token).collect()
    }
}

fn index_of(token: u64) -> usize {
    (token & 0xFFFF_FFFF) as usize
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_stale_token_finds_no_connection() {
        let mut table = SlotTable::new(Arc::new(Inbox::new().unwrap()));
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
        assert_eq!(table.in_use(), 2, "removing a stale token removes nothing");
    }

    #[test]
    fn a_connection_is_stored_only_if_an_event_or_a_timer_will_find_it() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(1);
        let edge = |name: &str| Readiness {
            readable: name == "readable",
            writable: name == "writable",
            read_closed: name == "read_closed",
            hung_up: name == "hung_up",
        };
        for (pending, armed, deadline, is_left) in [
            ("none", Some(now), later, true),
            ("none", Some(now), now, true),
            ("writable", Some(now), later, true),
            ("none", Some(later), now, false),
            ("none", None, later, false),
            ("readable", Some(now), later, false),
            ("read_closed", Some(now), later, false),
            ("hung_up", Some(now), later, false),
        ] {
            let content = SlotContent::new();
            content.lock().pending = edge(pending);
            content.lock().armed = armed;
            let returned = content.store("connection", deadline);
            assert_eq!(returned.is_none(), is_left, "{pending} {armed:?}");
            assert_eq!(content.take().is_some(), is_left, "{pending} {armed:?}");
        }
    }
}

#[cfg(all(test, loom))]
mod loom_model {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::thread;

    fn content() -> Arc<SlotContent<()>> {
        let content = SlotContent::new();
        // A timer is armed, so that only an edge makes the event loop drive the connection.
        content.lock().armed = Some(Instant::now());
        Arc::new(content)
    }

    /// The poller reports an edge once: the event loop finds the connection, or the thread returns it.
    #[test]
    fn an_edge_is_never_lost_between_a_thread_and_the_event_loop() {
        let deadline = Instant::now() + std::time::Duration::from_secs(1);
        loom::model(move || {
            let content = content();
            let thread = {
                let content = Arc::clone(&content);
                thread::spawn(move || content.store((), deadline).is_some())
            };
            let is_found = {
                let mut state = content.lock();
                let connection = state.connection.take();
                if connection.is_none() {
                    state.pending.readable = true;
                }
                connection.is_some()
            };
            let is_returned = thread.join().unwrap();
            assert!(is_found != is_returned, "found {is_found}");
        });
    }

    /// A stop visits every slot once: it finds the connection, or the thread sees that the worker stops.
    #[test]
    fn a_stop_never_misses_a_connection_that_a_thread_stores() {
        let deadline = Instant::now() + std::time::Duration::from_secs(1);
        loom::model(move || {
            let content = content();
            let is_stopping = Arc::new(AtomicBool::new(false));
            let thread = {
                let (content, is_stopping) = (Arc::clone(&content), Arc::clone(&is_stopping));
                thread::spawn(move || {
                    content.store((), deadline);
                    is_stopping.load(Ordering::SeqCst) && content.take().is_some()
                })
            };
            is_stopping.store(true, Ordering::SeqCst);
            let is_found = content.take().is_some();
            let is_returned = thread.join().unwrap();
            assert!(is_found != is_returned, "found {is_found}");
        });
    }
}
