//! Parking: how the leader and its follower sleep and wake each other without a lock.
//!
//! A Dekker-style pair: each side writes its own word, fences, then reads the other's. With both fences SeqCst at least
//! one of them sees the other; without them the model below deadlocks (the leader sees no sleeping follower while the
//! follower sees no call).

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// See the module documentation.
#[derive(Debug)]
pub struct Parking {
    /// 0 while a leader holds the event loop, else the call for which it was released.
    call: AtomicU64,
    is_follower_asleep: AtomicBool,
}

impl Parking {
    pub fn new() -> Self {
        Self {
            call: AtomicU64::new(0),
            is_follower_asleep: AtomicBool::new(false),
        }
    }

    /// The leader releases the event loop for a call. True: the follower is in deep sleep and has to be woken.
    pub fn release(&self, call: u64) -> bool {
        self.call.store(call, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.is_follower_asleep.load(Ordering::Relaxed)
    }

    /// As [`Parking::release`], without a follower.
    pub fn release_without_follower(&self, call: u64) {
        self.call.store(call, Ordering::Relaxed);
    }

    /// A leader holds the event loop.
    pub fn retake(&self) {
        self.call.store(0, Ordering::Relaxed);
    }

    /// The call that the event loop is free for; 0 when it is held.
    pub fn call(&self) -> u64 {
        self.call.load(Ordering::Relaxed)
    }

    /// The follower sleeps until it is woken, unless the event loop is free already. `sleep` may return spuriously.
    pub fn sleep_deeply(&self, sleep: impl FnOnce()) {
        self.is_follower_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.call.load(Ordering::Relaxed) == 0 {
            sleep();
        }
        self.is_follower_asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod loom_model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// The event loop is free for one call, then held, then free for another; the follower, which sleeps without a time
    /// limit here, must not miss the last one.
    #[test]
    fn a_follower_in_deep_sleep_is_woken_by_the_next_call() {
        loom::model(|| {
            let parking = Arc::new(Parking::new());
            parking.release_without_follower(1);
            let follower = {
                let parking = Arc::clone(&parking);
                thread::spawn(move || {
                    while parking.call() != 2 {
                        parking.sleep_deeply(thread::park);
                        thread::yield_now();
                    }
                })
            };
            parking.retake();
            if parking.release(2) {
                follower.thread().unpark();
            }
            follower.join().unwrap();
        });
    }
}
