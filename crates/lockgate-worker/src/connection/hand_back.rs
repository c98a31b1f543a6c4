//! The queue through which threads return connections to the event loop, and whether the leader has to be woken for
//! them.
//!
//! A Dekker-style pair, as in [`parking`](crate::thread_pool::parking): a thread queues and then checks whether the
//! leader polls, the leader announces that it polls and then checks the queue. At least one of them sees the other.

#[cfg(not(loom))]
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering, fence},
};

#[cfg(loom)]
use loom::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering, fence},
};
#[cfg(loom)]
use std::sync::PoisonError;

/// See the module documentation.
pub struct HandBack<T> {
    queue: Mutex<Vec<T>>,
    /// Mirrors the queue, so that the leader can check it without its lock.
    has_items: AtomicBool,
    is_polling: AtomicBool,
}

impl<T> HandBack<T> {
    pub fn new() -> Self {
        Self {
            queue: Mutex::new(Vec::new()),
            has_items: AtomicBool::new(false),
            is_polling: AtomicBool::new(false),
        }
    }

    /// Queues an item. True: the leader may be asleep in the poller and has to be woken for the item to be found.
    #[must_use]
    pub fn push(&self, item: T) -> bool {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(item);
        self.has_items.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.is_polling.load(Ordering::SeqCst)
    }

    /// Whether there is an item, as far as this thread can know without the lock.
    #[inline]
    pub fn has_items(&self) -> bool {
        self.has_items.load(Ordering::Acquire)
    }

    /// Takes all items, in the order in which they were queued, into a vector that is empty.
    pub fn take_all(&self, into: &mut Vec<T>) {
        debug_assert!(into.is_empty());
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *queue, into);
        self.has_items.store(false, Ordering::SeqCst);
    }

    /// The leader is about to wait in the poller. False: an item is queued, and the leader must not wait.
    #[must_use]
    pub fn begin_polling(&self) -> bool {
        self.is_polling.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        !self.has_items.load(Ordering::SeqCst)
    }

    /// The leader checks the queue next.
    pub fn end_polling(&self) {
        self.is_polling.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(test, loom))]
mod loom_model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// The leader sleeps without a time limit here, so a missed wake-up ends in a deadlock.
    #[test]
    fn the_leader_never_sleeps_while_an_item_is_queued() {
        loom::model(|| {
            let hand_back = Arc::new(HandBack::new());
            let leader = {
                let hand_back = Arc::clone(&hand_back);
                thread::spawn(move || {
                    let mut found = 0;
                    while found < 2 {
                        if hand_back.begin_polling() {
                            thread::park();
                        }
                        hand_back.end_polling();
                        let mut items = Vec::new();
                        hand_back.take_all(&mut items);
                        found += items.len();
                    }
                })
            };
            for item in 0..2 {
                if hand_back.push(item) {
                    leader.thread().unpark();
                }
            }
            leader.join().unwrap();
        });
    }
}
