//! A futex on which threads wait for a change of shared memory, and which a change wakes only if a thread waits.
//!
//! The lowest bit of the word says that a thread waits; the rest counts changes. The bit is no count of threads, so a
//! thread that dies costs one system call of the next change, and no more.

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[cfg(not(all(test, loom)))]
use crate::lock::{sleep, wake_all};
#[cfg(all(test, loom))]
use loom_model::{sleep, wake_all};

/// See the module. A copy refers to the same word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wake {
    word: &'static AtomicU32,
}

const WAITING: u32 = 1;
const CHANGE: u32 = 2;

impl Wake {
    pub(crate) fn new(word: &'static AtomicU32) -> Self {
        Self { word }
    }

    /// Waits until the condition holds, at most this long; returns whether it does.
    pub(crate) fn wait(&self, timeout: Duration, holds: impl Fn() -> bool) -> bool {
        if holds() {
            return true;
        }
        let seen = self.word.fetch_or(WAITING, Ordering::AcqRel) | WAITING;
        // A change that came before the bit wakes no thread; one that comes later changes the word.
        if holds() {
            return true;
        }
        sleep(self.word, seen, timeout);
        holds()
    }

    /// Wakes all that wait. To be called after the condition has changed.
    pub(crate) fn wake(&self) {
        let next = |word: u32| Some((word & !WAITING).wrapping_add(CHANGE));
        let before = (self.word).fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
        if before.is_ok_and(|word| word & WAITING != 0) {
            wake_all(self.word);
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn has_waiters(&self) -> bool {
        self.word.load(Ordering::Relaxed) & WAITING != 0
    }
}

#[cfg(all(test, loom))]
mod loom_model {
    use super::*;
    use loom::sync::{Condvar, Mutex};
    use loom::thread;

    loom::lazy_static! {
        /// The queue of the futex: the kernel compares the word while it has locked the queue.
        static ref QUEUE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(super) fn sleep(word: &AtomicU32, seen: u32, _timeout: Duration) {
        let guard = QUEUE.0.lock().unwrap();
        if word.load(Ordering::Relaxed) == seen {
            drop(QUEUE.1.wait(guard).unwrap());
        }
    }

    pub(super) fn wake_all(_word: &AtomicU32) {
        let _guard = QUEUE.0.lock().unwrap();
        QUEUE.1.notify_all();
    }

    /// Two readers wait for the last of two appends, without a time limit: a wake-up that one of them missed would be a
    /// deadlock.
    #[test]
    fn no_reader_misses_an_append() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let wake = Wake::new(Box::leak(Box::new(AtomicU32::new(0))));
            let head: &AtomicU32 = Box::leak(Box::new(AtomicU32::new(0)));
            let readers = [(); 2].map(|()| {
                thread::spawn(move || {
                    while !wake.wait(Duration::MAX, || head.load(Ordering::Acquire) == 2) {}
                })
            });
            for appends in 1..=2 {
                head.store(appends, Ordering::Release);
                wake.wake();
            }
            for reader in readers {
                reader.join().unwrap();
            }
        });
    }
}
