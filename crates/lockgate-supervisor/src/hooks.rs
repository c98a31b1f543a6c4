//! What the supervisor asks of its host: forking, running a worker, leaving, logging.
//! Knows neither how a fork is made nor what a worker serves.

use std::ffi::OsString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use lockgate_config::{BindAddress, Config};
use lockgate_observe::{Level, Page};

use crate::{ExitWatch, OperatorRequests, ServiceManager, WorkerPost};

/// Which side of a fork the caller is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// Still the supervisor; the number is the child's process id.
    Parent(u32),
    /// The new process.
    Child,
}

/// Why a template cannot load the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadFailure {
    /// The exit code: 3 when its import failed and 4 when it was not found or is not callable, 1 for other reasons.
    pub code: i32,
    /// What the operator reads, of which the last 64 KiB travel.
    pub text: String,
}

/// With this code in [`WorkerPost::boot_failed`] a worker says that it was forked while another thread of the template
/// held a lock, which is never released in the copy: another fork of the same template may do better.
pub const BAD_FORK: i32 = 75;

/// The program that this process would be if it were started anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    /// The executable.
    pub program: OsString,
    /// Its arguments, without its own name.
    pub arguments: Vec<OsString>,
    /// All variables, as they were at the start.
    pub environment: Vec<(OsString, OsString)>,
    /// Where the server was started.
    pub directory: Option<PathBuf>,
}

/// The host of the supervisor: in production Python, in tests a few lines of Rust.
///
/// The host must leave the dispositions of all signals that the supervisor handles at their defaults before
/// [`run`](crate::run): handlers that are already installed go on being called beside ours.
pub trait Hooks {
    /// Makes a child process of the single-threaded caller (Python's `os.fork`, so that its fork hooks run).
    fn fork(&mut self) -> io::Result<Fork>;

    /// Loads the application, in a template: a process that is forked for each worker and serves nobody itself. Only
    /// called where `preload` is set; [`run_worker`](Self::run_worker) follows in processes that are copies of this one.
    /// No thread may be left that workers need.
    ///
    /// The listeners are those of its workers. `note_new_identity` is to be called when the template has become another user or group, and before the application
    /// is loaded; see [`WorkerPost::note_new_identity`].
    ///
    /// # Errors
    /// When there is no application: the template leaves with that code.
    fn preload(
        &mut self,
        _config: &Arc<Config>,
        _generation: u64,
        _listeners: &[(BindAddress, OwnedFd)],
        _note_new_identity: &dyn Fn() -> bool,
    ) -> Result<(), LoadFailure> {
        Err(LoadFailure {
            code: 1,
            text: "this host loads nothing ahead".to_owned(),
        })
    }

    /// These descriptors belong to this process, a worker or a template, and to the supervisor: a process that the
    /// application forks closes them. They take the place of those that were named before.
    fn note_descriptors(&mut self, _numbers: Vec<RawFd>) {}

    /// Serves, in the child; returns the exit code of the worker when it is done.
    ///
    /// Expected to call [`WorkerPost::ready`] or [`WorkerPost::boot_failed`]; where the former says so, to begin to accept
    /// and to call [`WorkerPost::attend`]. The settings are those of the post.
    fn run_worker(&mut self, post: &mut WorkerPost) -> i32;

    /// Ends the application in a process that has loaded it, or tried to: its threads, its exit functions. What it does may
    /// take for ever, so nothing of it is begun unless the watch has started.
    fn finish(&mut self, _watch: ExitWatch) {}

    /// Answers operators from the page, in a child of its own; returns its exit code. Only called where `admin_bind` is
    /// set. The post has the admin listeners, and no seat. What operators ask for goes to the supervisor by `requests`.
    ///
    /// Expected to call [`WorkerPost::attend`]. Signals do nothing in this process: it answers to the end.
    fn run_admin(&mut self, _post: WorkerPost, _page: Page, _requests: OperatorRequests) -> i32 {
        0
    }

    /// Leaves the process at once, with its standard streams flushed. What was to run first has run in
    /// [`finish`](Self::finish).
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

    /// What would be started now.
    ///
    /// # Errors
    /// When the host does not know.
    fn successor(&self) -> io::Result<Successor> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// From now on signals wait, also in a program that replaces this one.
    ///
    /// # Errors
    /// When the system refuses.
    fn block_signals(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Signals have handlers: none is blocked from here on, also not by whoever started the server.
    fn unblock_signals(&mut self) {}

    /// Replaces the program of this process, with this variable besides. Returns only when it could not.
    fn exec(&mut self, _successor: &Successor, _variable: (&str, &str)) -> io::Error {
        io::ErrorKind::Unsupported.into()
    }

    /// Opens the supervisor's own log files again (`SIGUSR1`); the workers are told separately.
    fn reopen_logs(&mut self) {}
}
