//! A lock in shared memory that is released by the death of its holder.
//!
//! It is one word that names the thread that holds it. The uncontended case is one exchange, without a system call; how
//! threads wait, and how the death of the holder is found out, depends on the system.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(target_os = "linux")]
#[path = "lock/futex.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "lock/polling.rs"]
mod system;

use self::system::{HOLDER, WAITERS, is_alive, this_thread};
pub(crate) use self::system::{is_process_alive, sleep, wake_all};

/// See the module. A copy refers to the same word.
#[derive(Debug, Clone, Copy)]
pub struct Lock {
    word: &'static AtomicU32,
}

/// The lock is held until this is dropped. Must be dropped by the thread that has taken the lock.
#[derive(Debug)]
pub struct Guard {
    lock: Lock,
    thread: u32,
    /// A guard stays on its thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// Why a lock cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockError {
    /// This thread holds it already.
    HeldByThisThread,
    /// The kernel refuses to wait.
    System(i32),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeldByThisThread => f.write_str("this thread holds the lock already"),
            Self::System(code) => {
                let error = std::io::Error::from_raw_os_error(*code);
                write!(f, "the kernel refuses to wait for the lock: {error}")
            }
        }
    }
}

impl Error for LockError {}

impl Lock {
    /// A lock in this word; zero means free.
    pub fn new(word: &'static AtomicU32) -> Self {
        Self { word }
    }

    /// Takes the lock if it is free, without waiting and without a system call for it.
    pub fn try_lock(&self) -> Option<Guard> {
        let thread = this_thread();
        self.take(thread).then(|| self.guard(thread))
    }

    /// Takes the lock; waits while another thread, of any process, holds it.
    ///
    /// # Errors
    /// When this thread holds it already, or the kernel refuses.
    pub fn lock(&self) -> Result<Guard, LockError> {
        let thread = this_thread();
        if !self.take(thread) {
            self.wait_and_take(thread)?;
        }
        Ok(self.guard(thread))
    }

    /// Releases the lock; false when this thread does not hold it.
    pub fn unlock(&self) -> bool {
        self.release(this_thread())
    }

    fn release(&self, thread: u32) -> bool {
        let released = self
            .word
            .compare_exchange(thread, 0, Ordering::Release, Ordering::Relaxed);
        match released {
            Ok(_) => true,
            Err(seen) if seen & HOLDER != thread => false,
            Err(_) => self.pass_on(),
        }
    }

    /// Whether a living thread holds it.
    pub fn is_locked(&self) -> bool {
        is_alive(self.word.load(Ordering::Relaxed) & HOLDER)
    }

    /// Releases the lock if its holder has died and no thread waits. To be called when a process has ended: the kernel
    /// may give the number of the dead thread to another one, which would seem to hold the lock. Where threads wait,
    /// the kernel has passed the lock on.
    pub fn release_if_dead(&self) -> bool {
        let seen = self.word.load(Ordering::Relaxed);
        let has_waiters = seen & WAITERS != 0;
        seen != 0
            && !has_waiters
            && !is_alive(seen & HOLDER)
            && (self.word)
                .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    fn take(&self, thread: u32) -> bool {
        let taken = (self.word).compare_exchange(0, thread, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }

    /// Takes the lock from a thread that does not exist any more, unless another thread was faster.
    fn take_over(&self, dead: u32, thread: u32) -> bool {
        let seen = self.word.load(Ordering::Relaxed);
        // The mark that threads wait stays: the kernel may have queued some.
        let mine = thread | (seen & WAITERS);
        seen & HOLDER == dead
            && (self.word)
                .compare_exchange(seen, mine, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    fn guard(&self, thread: u32) -> Guard {
        Guard {
            lock: *self,
            thread,
            _not_send: std::marker::PhantomData,
        }
    }
}

impl Guard {
    /// Keeps the lock beyond the life of this value: [`Lock::unlock`] releases it.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _is_held = self.lock.release(self.thread);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Threads that end are what is tested.
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::thread;

    fn lock() -> Lock {
        Lock::new(Box::leak(Box::default()))
    }

    #[test]
    fn a_lock_is_held_by_one_thread_and_released_at_the_end_of_its_guard() {
        let lock = lock();
        assert!(!lock.is_locked());
        let guard = lock.lock().unwrap();
        assert!(lock.is_locked() && lock.try_lock().is_none());
        assert_eq!(lock.lock().unwrap_err(), LockError::HeldByThisThread);
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(lock.try_lock().is_none());
                assert!(!lock.unlock(), "only the holder can release it");
            });
        });
        drop(guard);
        assert!(!lock.is_locked() && !lock.unlock());
        lock.try_lock().unwrap().keep();
        assert!(lock.is_locked() && lock.unlock() && !lock.is_locked());
    }

    #[test]
    fn a_thread_that_ends_releases_its_lock_for_those_that_wait_and_for_later_ones() {
        let lock = lock();
        thread::spawn(move || lock.lock().unwrap().keep())
            .join()
            .unwrap();
        // The kernel wakes the thread that joins shortly before it frees the number.
        while lock.is_locked() {
            thread::yield_now();
        }
        drop(lock.lock().unwrap());
        let guard = lock.lock().unwrap();
        assert!(!lock.release_if_dead());
        drop(guard);
        thread::spawn(move || lock.lock().unwrap().keep())
            .join()
            .unwrap();
        while !lock.release_if_dead() {
            thread::yield_now();
        }
        assert!(!lock.release_if_dead() && lock.try_lock().is_some());
        assert!(lock.try_lock().is_some());
        for _round in 0..50 {
            let (taken, is_taken) = std::sync::mpsc::channel();
            let (end, may_end) = std::sync::mpsc::channel::<()>();
            let holder = thread::spawn(move || {
                lock.lock().unwrap().keep();
                taken.send(()).unwrap();
                let _ended = may_end.recv();
            });
            is_taken.recv().unwrap();
            let waiters: Vec<_> = (0..3)
                .map(|_| thread::spawn(move || drop(lock.lock().unwrap())))
                .collect();
            drop(end);
            holder.join().unwrap();
            for waiter in waiters {
                waiter.join().unwrap();
            }
            drop(lock.lock().unwrap());
        }
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn threads_exclude_each_other() {
        let lock = lock();
        let count = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let _guard = lock.lock().unwrap();
                        // Not one operation: a lost update would show.
                        let seen = count.load(Ordering::Relaxed);
                        count.store(seen + 1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 80_000);
    }
}
