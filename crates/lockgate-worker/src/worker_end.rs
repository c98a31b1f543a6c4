//! How a worker ends: all its event loops are asked to stop, and it has finished when the last of them has.

use std::io;
use std::sync::Arc;

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::connection::inbox::{Inbox, Returned, StopMode};
use crate::poller::Latch;

/// See the module documentation. All event loops of a worker share it, and none writes it while it serves.
pub struct WorkerEnd {
    /// Readable once the worker has finished.
    pub finished: Latch,
    outcome: Outcome,
    inboxes: Vec<Arc<Inbox>>,
}

/// What is left of a worker, and whether it was its own fault.
struct Outcome {
    /// Event loops that have not ended.
    running: AtomicUsize,
    has_failed: AtomicBool,
}

impl Outcome {
    fn new(event_loops: usize) -> Self {
        Self {
            running: AtomicUsize::new(event_loops),
            has_failed: AtomicBool::new(false),
        }
    }

    /// An event loop has ended. Returns whether it was the last one.
    fn end_one(&self) -> bool {
        self.running.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

impl WorkerEnd {
    /// For event loops with these inboxes.
    ///
    /// # Errors
    /// When the system refuses a descriptor.
    pub fn new(inboxes: Vec<Arc<Inbox>>) -> io::Result<Self> {
        Ok(Self {
            finished: Latch::new()?,
            outcome: Outcome::new(inboxes.len()),
            inboxes,
        })
    }

    /// Whether this is the worker's only event loop.
    pub fn has_one_event_loop(&self) -> bool {
        self.inboxes.len() == 1
    }

    /// Whether the worker ends because of its own fault.
    pub fn has_failed(&self) -> bool {
        self.outcome.has_failed.load(Ordering::SeqCst)
    }

    /// Asks all event loops for this mode of stopping, unless a harsher one was asked for before.
    pub fn ask_to_stop(&self, mode: StopMode) {
        for inbox in &self.inboxes {
            inbox.ask_to_stop(mode);
        }
    }

    /// The other event loops look at the listeners again: the one with this inbox leaves them a connection.
    pub fn let_others_accept(&self, own: &Arc<Inbox>) {
        let others = (self.inboxes.iter()).filter(|inbox| !Arc::ptr_eq(inbox, own));
        others.for_each(|inbox| inbox.push(Returned::GivingWay, true));
    }

    /// An event loop cannot continue, so the worker ends: a part of the connections would be without service.
    pub fn fail(&self) {
        self.outcome.has_failed.store(true, Ordering::SeqCst);
        self.ask_to_stop(StopMode::Stop);
    }

    /// To be called once for each event loop.
    pub fn on_event_loop_over(&self) {
        if self.outcome.end_one() {
            self.finished.set();
        }
    }
}

#[cfg(all(test, loom))]
mod loom_model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// The supervisor's side reads the outcome when the end is announced, which happens once.
    #[test]
    fn the_last_event_loop_announces_the_end_and_every_fault_is_known_by_then() {
        loom::model(|| {
            let outcome = Arc::new(Outcome::new(3));
            let failing = {
                let outcome = Arc::clone(&outcome);
                thread::spawn(move || {
                    outcome.has_failed.store(true, Ordering::SeqCst);
                    outcome.end_one()
                })
            };
            let ending = {
                let outcome = Arc::clone(&outcome);
                thread::spawn(move || {
                    let is_last = outcome.end_one();
                    (is_last, outcome.has_failed.load(Ordering::SeqCst))
                })
            };
            let is_last = outcome.end_one();
            let found = (is_last, outcome.has_failed.load(Ordering::SeqCst));
            let all = [
                (failing.join().unwrap(), true),
                ending.join().unwrap(),
                found,
            ];
            let announced: Vec<bool> = (all.into_iter())
                .filter(|(is_last, _)| *is_last)
                .map(|(_, has_failed)| has_failed)
                .collect();
            assert_eq!(announced, [true]);
        });
    }
}
