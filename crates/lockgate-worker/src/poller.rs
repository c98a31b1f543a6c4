//! The poller: which descriptors are ready. epoll on Linux, kqueue on macOS and FreeBSD.
//!
//! [`Selector`] is the contract of both, and `tests` checks it on the one that is compiled. Which one that is is chosen
//! here and nowhere else; calls are direct.

#[cfg(target_os = "linux")]
mod epoll;
#[cfg(not(target_os = "linux"))]
mod kqueue;
mod latch;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

#[cfg(target_os = "linux")]
pub use self::epoll::{Poller, Waker};
#[cfg(not(target_os = "linux"))]
pub use self::kqueue::{Poller, Waker};
pub use self::latch::Latch;

/// Maximum events per wait: bounds a turn (about 64 requests). A wait that returns fewer has returned all.
pub const EVENTS_AT_ONCE: usize = 128;

/// What a poller does. Connections are registered once, edge-triggered, for everything; listeners level-triggered, so
/// that an accept budget can leave the rest for later.
pub trait Selector: Sized {
    fn new() -> io::Result<Self>;

    /// Watches a connection until it is closed. Its state at this moment is the first event.
    fn watch_connection(&self, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<()>;

    /// Watches a listener: every wait reports it as long as a connection waits.
    fn watch_listener(&self, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<()>;

    fn forget_listener(&self, descriptor: BorrowedFd<'_>) -> io::Result<()>;

    /// Watches the waker of this poller: each wake ends a wait, also one that began after it.
    fn watch_waker(&self, waker: &Waker, token: u64) -> io::Result<()>;

    /// Waits at most `timeout` (for ever if `None`) and appends the events to `into`. A signal ends the wait early.
    fn wait(&self, timeout: Option<Duration>, into: &mut Vec<(u64, Readiness)>) -> io::Result<()>;
}

/// What became possible on a descriptor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    pub readable: bool,
    pub writable: bool,
    /// The peer has announced the end of its stream: reads continue until they return it.
    pub read_closed: bool,
    /// Both directions are dead.
    pub hung_up: bool,
}

impl Readiness {
    pub fn any(self) -> bool {
        self.readable || self.writable || self.read_closed || self.hung_up
    }

    pub fn is_writable_only(self) -> bool {
        self.writable && !(self.readable || self.read_closed || self.hung_up)
    }

    pub fn merge(&mut self, other: Self) {
        self.readable |= other.readable;
        self.writable |= other.writable;
        self.read_closed |= other.read_closed;
        self.hung_up |= other.hung_up;
    }
}
