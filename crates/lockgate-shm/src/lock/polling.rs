//! Locks of systems whose futexes have no safe interface (macOS, FreeBSD): the word holds the process and a number that
//! the thread has in it, and who waits looks again after a pause. The death of a process is known from its number, that
//! of a thread only in its own process; a lock that another process sees held by such a thread is free when that process
//! ends, or when one of its threads looks.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};
use rustix::thread::{Timespec, nanosleep};

use super::{Lock, LockError};

/// No mark: a thread that waits leaves none.
pub(super) const WAITERS: u32 = 0;
/// The bits that name the thread.
pub(super) const HOLDER: u32 = !WAITERS;

/// The lower bits are the thread's number; the others take the greatest pid, 99,999 on both systems.
const THREAD_BITS: u32 = 12;
const THREADS: u32 = 1 << THREAD_BITS;

/// The pause between two looks grows from the first to the second of these.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// One bit for each number of a thread that lives in this process.
static LIVE: [AtomicU64; THREADS as usize / 64] =
    [const { AtomicU64::new(0) }; THREADS as usize / 64];

/// The number of a thread, which is free again when the thread ends. Threads beyond the last number share it: such a
/// thread may release a lock that another one of them holds.
struct Number(u32);

thread_local! {
    static NUMBER: Number = Number::take();
}

impl Number {
    /// In turn, as the kernel numbers threads: a number that was just freed may still be in a lock.
    fn take() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..THREADS {
            let number = NEXT.fetch_add(1, Ordering::Relaxed) % THREADS;
            let bit = 1 << (number % 64);
            if LIVE[number as usize / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0 {
                return Self(number);
            }
        }
        Self(THREADS - 1)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        LIVE[self.0 as usize / 64].fetch_and(!(1 << (self.0 % 64)), Ordering::AcqRel);
    }
}

impl Lock {
    /// Waits for the lock, which another thread holds, and takes it.
    #[cold]
    pub(super) fn wait_and_take(&self, thread: u32) -> Result<(), LockError> {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.take(thread) {
                return Ok(());
            }
            match self.word.load(Ordering::Relaxed) {
                holder if holder == thread => return Err(LockError::HeldByThisThread),
                holder if holder != 0 && !is_alive(holder) && self.take_over(holder, thread) => {
                    return Ok(());
                }
                _ => sleep_for(pause),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Not reached: without a mark, the word of a lock that is held is its holder's name.
    pub(super) fn pass_on(&self) -> bool {
        false
    }
}

/// Whether the thread lives that this names, or its process, if that is another one; 0 names none.
pub(super) fn is_alive(thread: u32) -> bool {
    let process = thread >> THREAD_BITS;
    let number = thread % THREADS;
    if process == this_process() {
        return LIVE[number as usize / 64].load(Ordering::Acquire) >> (number % 64) & 1 == 1;
    }
    is_process_alive(process)
}

/// Whether there is a process of this id; 0 is none.
pub(crate) fn is_process_alive(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    process.is_some_and(|process| test_kill_process(process) != Err(Errno::SRCH))
}

/// The name of this thread among those of all processes.
pub(super) fn this_thread() -> u32 {
    // While the thread ends, its number may be gone already.
    let number = NUMBER.try_with(|number| number.0).unwrap_or(THREADS - 1);
    this_process() << THREAD_BITS | number
}

fn this_process() -> u32 {
    getpid().as_raw_nonzero().get().unsigned_abs()
}

/// Sleeps until the word changes or the time is over. May return early.
pub(crate) fn sleep(word: &AtomicU32, seen: u32, timeout: Duration) {
    let (mut left, mut pause) = (timeout, FIRST_PAUSE);
    while word.load(Ordering::Acquire) == seen && !left.is_zero() {
        sleep_for(pause.min(left));
        left = left.saturating_sub(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn sleep_for(pause: Duration) {
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: pause.subsec_nanos().into(),
    };
    // A signal may end it early: then the word is looked at early.
    let _outcome = nanosleep(&pause);
}

/// Those that sleep on the word look again by themselves.
pub(crate) fn wake_all(_word: &AtomicU32) {}
