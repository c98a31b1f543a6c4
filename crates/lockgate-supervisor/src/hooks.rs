//! What the supervisor asks of its host: forking, running a worker, leaving, logging.
//! Knows neither how a fork is made nor what a worker serves.

use std::io;
use std::sync::Arc;

use lockgate_config::Config;
use lockgate_observe::{Level, Page};

use crate::{ServiceManager, WorkerPost};

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
    /// Expected to call [`WorkerPost::ready`] or [`WorkerPost::boot_failed`]; where the former says so, to begin to accept
    /// and to call [`WorkerPost::attend`]. The settings are those of the post.
    fn run_worker(&mut self, post: WorkerPost) -> i32;

    /// Answers operators from the page, in a child of its own; returns its exit code. Only called where `admin_bind` is
    /// set. The post has the admin listeners, and no seat.
    ///
    /// Expected to call [`WorkerPost::attend`]. A request to drain is not for this process: it answers to the end.
    fn run_admin(&mut self, _post: WorkerPost, _page: Page) -> i32 {
        0
    }

    /// Leaves the process at once: standard streams flushed, no exit handlers inherited from the supervisor run.
    fn exit_process(&mut self, code: i32) -> !;

    /// Writes one message to the error log. Messages may have several lines.
    fn log(&self, level: Level, message: &str);

    /// The user and the group that workers will run as, if they are to be others than the supervisor's: unix sockets are
    /// made theirs.
    fn worker_identity(&self) -> Option<(u32, u32)> {
        None
    }

    /// What the service manager that started the server has left for it.
    fn service_manager(&self) -> ServiceManager {
        ServiceManager::default()
    }

    /// Reads the settings again, for a reload.
    ///
    /// # Errors
    /// What is wrong with them, for the log: the reload fails then, and the workers that serve go on.
    fn read_settings(&mut self) -> Result<Config, String>;

    /// Workers with these settings have taken over from those before: they are the server's own now.
    fn adopt(&mut self, _config: &Arc<Config>, _generation: u64) {}

    /// Opens the supervisor's own log files again (`SIGUSR1`); the workers are told separately.
    fn reopen_logs(&mut self) {}
}
