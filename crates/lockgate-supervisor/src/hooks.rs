//! The host interface of the supervisor: forking, running a worker, exiting, logging.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use lockgate_config::{Config, Endpoint};
use lockgate_history::EventSubject;
use lockgate_observe::{GunicornEvent, Level, LogCounts, Scoreboard};
use lockgate_shm::responses::ResponseStore;
use lockgate_shm::{Log, Rates, Store};

use crate::{
    Evaluation, EvaluationFailure, ExitWatch, OperatorRequests, ServiceManager, WorkerContext,
};

/// Which side of a fork the caller is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// Still the supervisor; the number is the child's pid.
    Parent(u32),
    /// The new process.
    Child,
}

/// Why the fork server cannot load the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadFailure {
    /// The exit code: 3 when the import failed, 4 when the application was not found or is not callable, 1 otherwise.
    pub code: i32,
    /// The report for the operator; its last 64 KiB are sent.
    pub text: String,
}

/// Why the settings cannot be read for a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsFailure {
    /// One line, or several mistakes.
    pub reason: String,
    /// The traceback of a configuration in Python, after a first line that names it.
    pub report: Option<String>,
}

impl From<String> for SettingsFailure {
    fn from(reason: String) -> Self {
        Self {
            reason,
            report: None,
        }
    }
}

/// The program that this process would become if it were started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    /// The executable.
    pub program: OsString,
    /// Its arguments, without the program name.
    pub arguments: Vec<OsString>,
    /// All environment variables, as they were at the start.
    pub environment: Vec<(OsString, OsString)>,
    /// The directory in which the server was started.
    pub directory: Option<PathBuf>,
}

/// What is in the memory that all processes share.
#[derive(Clone, Default)]
pub struct SharedContents {
    /// Caches and locks, if `uwsgi_module` is set.
    pub store: Option<Arc<Store>>,
    /// If `push` is set.
    pub broadcast_log: Option<Log>,
    /// If `cache` is set.
    pub responses: Option<ResponseStore>,
    /// If `cache_redis` is set, too.
    pub purge_log: Option<Log>,
    /// The history of the server, if there is an admin listener.
    pub history: Option<Log>,
    /// The supervisor's part of it.
    pub events: Option<Log>,
    /// The failed requests of the workers, also part of it.
    pub failures: Option<Log>,
    /// If `otlp` is set.
    pub span_log: Option<Log>,
    /// If `otlp_logs` is set.
    pub line_log: Option<Log>,
    /// If the system provides its memory.
    pub rates: Option<Rates>,
    /// If the system provides its memory.
    pub scoreboard: Option<Scoreboard>,
}

/// The host of the supervisor: Python in production, a few lines of Rust in tests.
///
/// The host must leave the dispositions of all signals that the supervisor handles at their defaults before
/// [`run`](crate::run): handlers that are already installed would still be called beside ours.
pub trait Hooks {
    /// Before the first fork.
    fn share_memory(&mut self, _memory: SharedContents) {}

    /// Forks the single-threaded caller (Python's `os.fork`, so that its fork hooks run).
    fn fork(&mut self) -> io::Result<Fork>;

    /// Forks twice, so that the kernel reparents the new process. The intermediate process only passes the id of that
    /// process to `report`, or why there is none, and ends. No code of the application may run in it: a host with fork
    /// hooks runs each of them once. Returns in the caller, with the id of the intermediate process, and in the new one.
    ///
    /// # Errors
    /// When the first fork fails.
    fn fork_twice(&mut self, report: &mut dyn FnMut(io::Result<u32>)) -> io::Result<Fork> {
        let Fork::Parent(pid) = self.fork()? else {
            match self.fork() {
                Ok(Fork::Child) => return Ok(Fork::Child),
                Ok(Fork::Parent(pid)) => report(Ok(pid)),
                Err(error) => report(Err(error)),
            }
            signal_hook::low_level::exit(0)
        };
        Ok(Fork::Parent(pid))
    }

    /// Loads the application in the fork server: a process that is copied for each worker and serves no requests itself. Only called where `preload` is set; [`run_worker`](Self::run_worker) then runs in copies of
    /// this process. No thread may be left that workers need.
    ///
    /// The listeners are those of its workers. `identity_changed` must be called after the fork server has changed its
    /// user or group and before the application is loaded; see [`WorkerContext::identity_changed`].
    ///
    /// # Errors
    /// When the application cannot be loaded: the fork server exits with that code.
    fn preload(
        &mut self,
        _config: &Arc<Config>,
        _generation: u64,
        _listeners: &[(Endpoint, OwnedFd)],
        _identity_changed: &dyn Fn() -> bool,
    ) -> Result<(), LoadFailure> {
        Err(LoadFailure {
            code: 1,
            text: "this host does not support preload".to_owned(),
        })
    }

    /// These descriptors belong to this process, a worker or a fork server, and to the supervisor; a process forked by the
    /// application closes them. Each call replaces the previous list.
    fn set_private_descriptors(&mut self, _numbers: Vec<RawFd>) {}

    /// In a worker or a fork server, before the application is loaded: where its files are reported to the watcher. The
    /// pipe does not block, and stays open as long as the process.
    fn report_files_to(&mut self, _pipe: BorrowedFd<'_>) {}

    /// Serves, in the child; returns the worker's exit code.
    ///
    /// Must call [`WorkerContext::ready`] or [`WorkerContext::boot_failed`]; when `ready` returns true, it starts to accept
    /// and calls [`WorkerContext::run`]. The settings are those of the context.
    fn run_worker(&mut self, context: &mut WorkerContext) -> i32;

    /// Shuts down the application in a process that has loaded it, or tried to: its threads, its exit handlers. That
    /// may take forever, so it only begins after the watchdog has started.
    fn finish(&mut self, _watch: ExitWatch) {}

    /// Serves the admin listener from the scoreboard, in a child process; returns its exit code. Only called where
    /// `admin_bind` is set. The context has the admin listeners and no worker slot. Operators' requests go to the
    /// supervisor through `requests`.
    ///
    /// Must call [`WorkerContext::run`]. Signals have no effect in this process: the supervisor kills it.
    fn run_admin(
        &mut self,
        _context: WorkerContext,
        _scoreboard: Scoreboard,
        _requests: OperatorRequests,
    ) -> i32 {
        0
    }

    /// Obtains and renews certificates, in a child process; returns its exit code. Only called where names need a
    /// certificate authority. The context has no listeners and no worker slot, and the user is the supervisor's: it
    /// writes keys that the workers' user must not read.
    ///
    /// Must call [`WorkerContext::run`]. Signals have no effect in this process: the supervisor kills it.
    fn run_acme(&mut self, _context: WorkerContext) -> i32 {
        0
    }

    /// Relays published messages through Redis, in a child process; returns its exit code. Only called where `push_redis`
    /// is set. The context has no listeners and no worker slot.
    ///
    /// Must call [`WorkerContext::run`]. Signals have no effect in this process: the supervisor kills it.
    fn run_relay(&mut self, _context: WorkerContext) -> i32 {
        0
    }

    /// Sends spans to a collector, in a child process; returns its exit code. Only called where `otlp` is set. The
    /// context has no listeners and no worker slot.
    ///
    /// Must call [`WorkerContext::run`]. Signals have no effect in this process: the supervisor kills it.
    fn run_exporter(&mut self, _context: WorkerContext) -> i32 {
        0
    }

    /// Watches the files of the application, in a child process; returns its exit code. Only called where `reload` is
    /// set. The context has no listeners and no worker slot. Workers report their files through the pipe, which does not
    /// block; `requests` has the supervisor reload.
    ///
    /// Must call [`WorkerContext::run`]. Signals have no effect in this process: the supervisor kills it.
    fn run_watcher(
        &mut self,
        _context: WorkerContext,
        _reports: OwnedFd,
        _requests: OperatorRequests,
    ) -> i32 {
        0
    }

    /// Runs gunicorn's hooks of the master, in a child process; returns its exit code. Only called where the configuration
    /// has such hooks. Events arrive on the socket. The user is the supervisor's.
    ///
    /// Must call [`WorkerContext::run`], on any thread. Signals have no effect in this process.
    fn run_hook_process(&mut self, _context: WorkerContext, _events: OwnedFd) -> i32 {
        0
    }

    /// Exits at once, after flushing the standard streams. Exit handlers have already run in [`finish`](Self::finish).
    fn exit_process(&mut self, code: i32) -> !;

    /// Writes one message to the error log. A message may have several lines.
    fn log(&self, level: Level, message: &str);

    /// Writes an event that gunicorn logs too, in Lockgate's words or in gunicorn's.
    fn log_as(&self, _event: &GunicornEvent, level: Level, message: &str) {
        self.log(level, message);
    }

    /// Writes an event that only gunicorn logs, if the log is in gunicorn's words.
    fn log_for_gunicorn(&self, _event: &GunicornEvent) {}

    /// Writes an event of the server's history, and records it there.
    fn log_event(
        &self,
        _subject: EventSubject,
        level: Level,
        message: &str,
        gunicorn: Option<&GunicornEvent>,
    ) {
        match gunicorn {
            Some(event) => self.log_as(event, level, message),
            None => self.log(level, message),
        }
    }

    /// The messages of the error log since the last call, for statsd.
    fn take_log_counts(&self) -> LogCounts {
        LogCounts::default()
    }

    /// The user and group of the workers, if they differ from the supervisor's: they own the unix sockets.
    fn worker_identity(&self) -> Option<(u32, u32)> {
        None
    }

    /// What the service manager has passed to the server.
    fn service_manager(&self) -> ServiceManager {
        ServiceManager::default()
    }

    /// Starts the process that executes a configuration in Python, for a reload; `None` without one.
    /// [`read_settings`](Self::read_settings) is called at once or with its result.
    fn evaluate_settings(&mut self) -> Option<Result<Evaluation, EvaluationFailure>> {
        None
    }

    /// Reads the settings again, for a reload. The argument is the result of the evaluation, if there was one.
    ///
    /// # Errors
    /// What is wrong with them, for the log: the reload fails, and the serving workers continue.
    fn read_settings(
        &mut self,
        _evaluated: Option<Result<String, EvaluationFailure>>,
    ) -> Result<Config, SettingsFailure> {
        Err("this host has no settings".to_owned().into())
    }

    /// Workers with these settings have taken over: the settings are now the server's own.
    fn adopt(&mut self, _config: &Arc<Config>, _generation: u64) {}

    /// The program to exec for an upgrade.
    ///
    /// # Errors
    /// When the host cannot determine it.
    fn successor(&self) -> io::Result<Successor> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Blocks signals from now on, also across exec.
    ///
    /// # Errors
    /// When the system call fails.
    fn block_signals(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Handlers are installed: unblocks all signals, including those blocked by the parent of the server.
    fn unblock_signals(&mut self) {}

    /// Replaces the program of this process, with this additional variable. Returns only on failure.
    fn exec(&mut self, _successor: &Successor, _variable: (&str, &str)) -> io::Error {
        io::ErrorKind::Unsupported.into()
    }

    /// Reopens the supervisor's own log files (`SIGUSR1`); workers get a separate order.
    fn reopen_logs(&mut self) {}
}
