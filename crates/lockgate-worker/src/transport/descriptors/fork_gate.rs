//! Keeps accepting and forking apart: a child that is forked between accept(2) and the registration of the new socket
//! would inherit a connection that it does not know of, and would keep it open.
//!
//! A Dekker-style pair, as in `thread_pool::parking`: each side writes its own word and then reads the other's. One
//! thread at a time accepts, the one that runs the event loop; forks are counted. The thread that accepts gives way.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

#[cfg(loom)]
use loom::thread::yield_now;
#[cfg(not(loom))]
use std::thread::yield_now;

/// See the module documentation.
pub struct ForkGate {
    forks: AtomicU32,
    is_accepting: AtomicBool,
}

/// No fork begins while this value lives.
pub struct Accepting<'a>(&'a ForkGate);

/// The gate of this process.
#[cfg(not(loom))]
pub static FORK_GATE: ForkGate = ForkGate {
    forks: AtomicU32::new(0),
    is_accepting: AtomicBool::new(false),
};

impl ForkGate {
    /// Waits for forks under way, which take as long as the kernel copies page tables.
    pub fn begin_accept(&self) -> Accepting<'_> {
        loop {
            if let Some(accepting) = self.try_begin_accept() {
                return accepting;
            }
            yield_now();
        }
    }

    /// `None`: a fork is under way.
    fn try_begin_accept(&self) -> Option<Accepting<'_>> {
        self.is_accepting.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let accepting = Accepting(self);
        (self.forks.load(Ordering::SeqCst) == 0).then_some(accepting)
    }

    /// Called before a fork; waits for the accepts under way, a few system calls that do not block.
    pub fn begin_fork(&self) {
        self.announce_fork();
        while self.is_accepting.load(Ordering::SeqCst) {
            yield_now();
        }
    }

    fn announce_fork(&self) {
        self.forks.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Called after a fork, in the parent.
    pub fn end_fork(&self) {
        self.forks.fetch_sub(1, Ordering::SeqCst);
    }

    /// Called after a fork, in the child. The threads that were accepting or forking do not exist in it: what they
    /// have announced would block its own forks for ever.
    pub fn reset_in_child(&self) {
        self.is_accepting.store(false, Ordering::SeqCst);
        self.forks.store(0, Ordering::SeqCst);
    }
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        self.0.is_accepting.store(false, Ordering::SeqCst);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_forks_again_waits_for_no_thread_of_its_parent() {
        let gate = ForkGate {
            forks: AtomicU32::new(0),
            is_accepting: AtomicBool::new(false),
        };
        // Another thread forks as well, and a third one is about to see that it may not accept.
        gate.announce_fork();
        gate.announce_fork();
        gate.is_accepting.store(true, Ordering::SeqCst);
        gate.reset_in_child();
        assert!(!gate.is_accepting.load(Ordering::SeqCst));
        assert!(gate.try_begin_accept().is_some());
    }
}

#[cfg(all(test, loom))]
mod loom_model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Each side tries once; both repeat it until they succeed.
    #[test]
    fn no_fork_falls_between_an_accept_and_its_registration() {
        loom::model(|| {
            let gate = Arc::new(ForkGate {
                forks: AtomicU32::new(0),
                is_accepting: AtomicBool::new(false),
            });
            // Accepted and not registered.
            let is_between = Arc::new(AtomicBool::new(false));
            let acceptor = {
                let (gate, is_between) = (Arc::clone(&gate), Arc::clone(&is_between));
                thread::spawn(move || {
                    if let Some(_accepting) = gate.try_begin_accept() {
                        is_between.store(true, Ordering::SeqCst);
                        is_between.store(false, Ordering::SeqCst);
                    }
                })
            };
            gate.announce_fork();
            if !gate.is_accepting.load(Ordering::SeqCst) {
                assert!(!is_between.load(Ordering::SeqCst));
            }
            gate.end_fork();
            acceptor.join().unwrap();
        });
    }
}
