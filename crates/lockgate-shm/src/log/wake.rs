//! A futex on which readers wait, and which an append wakes only if a reader waits.
//!
//! The lowest bit of the word says that a reader waits; the rest counts appends. The bit is no count of readers, so a
//! reader that dies costs one system call of the next append, and no more.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::futex;

use crate::lock::SHARED;

/// See the module. A copy refers to the same word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wake {
    word: &'static AtomicU32,
}

const WAITING: u32 = 1;
const APPEND: u32 = 2;
/// The kernel reads the number as a signed one.
const ALL: u32 = i32::MAX as u32;

impl Wake {
    pub(super) fn new(word: &'static AtomicU32) -> Self {
        Self { word }
    }

    /// Waits until the condition holds, at most this long; returns whether it does.
    pub(super) fn wait(&self, timeout: Duration, holds: impl Fn() -> bool) -> bool {
        if holds() {
            return true;
        }
        let seen = self.word.fetch_or(WAITING, Ordering::AcqRel) | WAITING;
        // An append that came before the bit wakes no reader; one that comes later changes the word.
        if holds() {
            return true;
        }
        // A timeout that the kernel cannot represent is longer than the machine runs.
        let timeout = futex::Timespec::try_from(timeout).ok();
        // Whether it was woken, interrupted or timed out: the condition decides.
        let _outcome = futex::wait(self.word, SHARED, seen, timeout.as_ref());
        holds()
    }

    /// Wakes all that wait. To be called after the condition has changed.
    pub(super) fn wake(&self) {
        let next = |word: u32| Some((word & !WAITING).wrapping_add(APPEND));
        let before = (self.word).fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
        if before.is_ok_and(|word| word & WAITING != 0) {
            // It fails only if the word is not mapped.
            let _woken = futex::wake(self.word, SHARED, ALL);
        }
    }

    #[cfg(test)]
    pub(super) fn has_waiters(&self) -> bool {
        self.word.load(Ordering::Relaxed) & WAITING != 0
    }
}
