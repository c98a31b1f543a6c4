//! Locks of Linux: the word is a priority-inheritance futex (futex(2)), which holds the thread id of the holder. The kernel
//! knows whom a waiter waits for, wakes it when that thread dies, and refuses to wait for a thread that does not exist.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::test_kill_process;
use rustix::thread::{Pid, futex, gettid};

use super::{Lock, LockError};

/// The mark that threads wait.
pub(super) const WAITERS: u32 = futex::WAITERS;
/// The bits of the thread id.
pub(super) const HOLDER: u32 = !(futex::WAITERS | futex::OWNER_DIED);
/// How often the kernel may find the word and its own records different: for seconds.
const MOST_INCONSISTENCIES: u32 = 10_000_000;
/// How often a lock is looked at where the kernel cannot wait for it.
const POLL_INTERVAL: futex::Timespec = futex::Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};
/// The memory is shared with other processes.
const SHARED: futex::Flags = futex::Flags::empty();

impl Lock {
    /// Waits for the lock, which another thread holds, and takes it.
    #[cold]
    pub(super) fn wait_and_take(&self, thread: u32) -> Result<(), LockError> {
        let mut inconsistencies = 0;
        loop {
            if self.take(thread) {
                return Ok(());
            }
            let seen = self.word.load(Ordering::Relaxed);
            match futex::lock_pi(self.word, SHARED, None) {
                Ok(()) => {
                    // The next holder must not believe that this one has died.
                    self.word.fetch_and(!futex::OWNER_DIED, Ordering::Acquire);
                    return Ok(());
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                // The holder died while no thread waited for it.
                Err(Errno::SRCH) => {
                    if self.take_over(seen & HOLDER, thread) {
                        return Ok(());
                    }
                }
                // The holder has died, and the thread that waited first does not run yet: until it does, the word still
                // names the dead one (attach_to_pi_state in the kernel).
                Err(Errno::INVAL) if inconsistencies < MOST_INCONSISTENCIES => {
                    inconsistencies += 1;
                    std::thread::yield_now();
                }
                Err(Errno::DEADLK) => return Err(LockError::HeldByThisThread),
                // A sandbox without such futexes: then no thread is ever queued.
                Err(Errno::NOSYS) => match seen & HOLDER {
                    holder if holder == thread => return Err(LockError::HeldByThisThread),
                    holder if !is_alive(holder) && self.take_over(holder, thread) => {
                        return Ok(());
                    }
                    // No release wakes it: whether it was woken or not, the lock is looked at again.
                    _ => drop(futex::wait(self.word, SHARED, seen, Some(&POLL_INTERVAL))),
                },
                Err(error) => return Err(LockError::System(error.raw_os_error())),
            }
        }
    }

    /// Releases the lock, for which threads wait: the kernel passes it on. It fails only if the word is not a lock.
    pub(super) fn pass_on(&self) -> bool {
        std::sync::atomic::fence(Ordering::Release);
        futex::unlock_pi(self.word, SHARED).is_ok()
    }
}

/// Whether there is a thread of this number; 0 is none.
pub(super) fn is_alive(thread: u32) -> bool {
    // A process is its first thread.
    is_process_alive(thread)
}

/// Whether there is a process of this id; 0 is none.
pub(crate) fn is_process_alive(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    process.is_some_and(|process| test_kill_process(process) != Err(Errno::SRCH))
}

pub(super) fn this_thread() -> u32 {
    gettid().as_raw_nonzero().get().unsigned_abs()
}

/// Sleeps until it is woken or the time is over, or not at all if the word has changed. May return early.
pub(crate) fn sleep(word: &AtomicU32, seen: u32, timeout: Duration) {
    // A timeout that the kernel cannot represent is longer than the machine runs.
    let timeout = futex::Timespec::try_from(timeout).ok();
    // Whether it was woken, interrupted or timed out: the condition of the caller decides.
    let _outcome = futex::wait(word, SHARED, seen, timeout.as_ref());
}

/// Wakes all that sleep on the word.
pub(crate) fn wake_all(word: &AtomicU32) {
    // The kernel reads the number as a signed one. It fails only if the word is not mapped.
    let _woken = futex::wake(word, SHARED, i32::MAX as u32);
}
