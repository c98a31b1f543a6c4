//! What the supervisor asks of its host: forking, running a worker, leaving, logging.
//! Knows neither how a fork is made nor what a worker serves.

use std::io;

use lockgate_observe::Level;

use crate::WorkerPost;

/// Which side of a fork the caller is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// Still the supervisor; the number is the child's process id.
    Parent(u32),
    /// The new process.
    Child,
}

/// The host of the supervisor: in production Python, in tests a few lines of Rust.
///
/// The host must leave the dispositions of `SIGINT` and `SIGTERM` at their defaults before [`run`](crate::run):
/// handlers that are already installed go on being called beside ours.
pub trait Hooks {
    /// Makes a child process of the single-threaded caller (Python's `os.fork`, so that its fork hooks run).
    fn fork(&mut self) -> io::Result<Fork>;

    /// Serves, in the child; returns the exit code of the worker when it is done.
    ///
    /// Expected to call [`WorkerPost::ready`] or [`WorkerPost::boot_failed`], then [`WorkerPost::attend`].
    fn run_worker(&mut self, post: WorkerPost) -> i32;

    /// Leaves the process at once: standard streams flushed, no exit handlers inherited from the supervisor run.
    fn exit_process(&mut self, code: i32) -> !;

    /// Writes one message to the error log. Messages may have several lines.
    fn log(&self, level: Level, message: &str);

    /// The user and the group that workers will run as, if they are to be others than the supervisor's: unix sockets are
    /// made theirs.
    fn worker_identity(&self) -> Option<(u32, u32)> {
        None
    }

    /// Opens the supervisor's own log files again (`SIGUSR1`); the workers are told separately.
    fn reopen_logs(&mut self) {}
}
