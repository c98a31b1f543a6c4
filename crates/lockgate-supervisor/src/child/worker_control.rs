//! The interface through which the supervisor controls a running worker.

use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A running worker. The control thread and the main thread call these methods.
pub trait WorkerControl: Send + Sync {
    /// Other workers have taken over, and there is time: finish the requests in progress, ask clients to close their
    /// connections, then stop.
    fn retire(&self);
    /// Let other workers accept new connections first.
    fn give_way(&self) {}
    /// Finish the requests in progress, then stop. May be called repeatedly, and after `retire`.
    fn drain(&self);
    /// Stop now. Also called when the supervisor has exited. May be called repeatedly, and after `drain`.
    fn stop(&self);
    /// Reopen the log files.
    fn reopen_logs(&self);
    /// Whether all work is done and the worker may exit.
    fn is_finished(&self) -> bool;
    /// Whether something has blocked the worker for longer than this, so that it should be replaced.
    fn is_stuck(&self, longer_than: Duration) -> bool;
    /// Readable when the worker has finished; without one the worker is polled once a second.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>>;
    /// A signal has arrived: the host's own handlers may have to run, on the calling thread, which is the main thread.
    fn interrupted(&self);
}
