//! Keeps accepting and forking apart: a child that is forked between accept(2) and the registration of the new socket
//! would inherit a connection that it does not know of, and would keep it open.
//!
//! A Dekker-style pair, as in `thread_pool::parking`: each side writes its own word and then reads the other's. Both
//! are counts: a process may have several workers (`lockgate.Server`). The thread that accepts gives way.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering, fence};

#[cfg(loom)]
use loom::thread::yield_now;
#[cfg(not(loom))]
use std::thread::yield_now;

/// See the module documentation.
pub struct ForkGate {
    forks: AtomicU32,
    accepts: AtomicU32,
}

/// No fork begins while this value lives.
pub struct Accepting<'a>(&'a ForkGate);

/// The gate of this process.
#[cfg(not(loom))]
pub static FORK_GATE: ForkGate = ForkGate {
    forks: AtomicU32::new(0),
    accepts: AtomicU32::new(0),
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
        self.accepts.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let accepting = Accepting(self);
        (self.forks.load(Ordering::SeqCst) == 0).then_some(accepting)
    }

    /// Called before a fork; waits for the accepts under way, a few system calls that do not block.
    pub fn begin_fork(&self) {
        self.announce_fork();
        while self.accepts.load(Ordering::SeqCst) > 0 {
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
        self.accepts.store(0, Ordering::SeqCst);
        self.forks.store(0, Ordering::SeqCst);
    }
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        self.0.accepts.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_forks_again_waits_for_no_thread_of_its_parent() {
        let gate = ForkGate {
            forks: AtomicU32::new(0),
            accepts: AtomicU32::new(0),
        };
        // Another thread forks as well, and a third one is about to see that it may not accept.
        gate.announce_fork();
        gate.announce_fork();
        gate.accepts.store(1, Ordering::SeqCst);
        gate.reset_in_child();
        assert_eq!(gate.accepts.load(Ordering::SeqCst), 0);
        assert!(gate.try_begin_accept().is_some());
    }
}

#[cfg(all(test, loom))]
mod loom_model {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    /// Each side tries once; both repeat it until they succeed.
    #[test]
    fn no_fork_falls_between_an_accept_and_its_registration() {
        loom::model(|| {
            let gate = Arc::new(ForkGate {
                forks: AtomicU32::new(0),
                accepts: AtomicU32::new(0),
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
            if gate.accepts.load(Ordering::SeqCst) == 0 {
                assert!(!is_between.load(Ordering::SeqCst));
            }
            gate.end_fork();
            acceptor.join().unwrap();
        });
    }
}
