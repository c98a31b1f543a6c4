//! The events and actions of the supervisor, as plain data.

use std::fmt;
use std::time::Duration;

use lockgate_history::EventSubject;
use lockgate_observe::{GunicornEvent, Level};

use super::progress_event::ProgressEvent;
use super::status::Status;
use crate::processes::exit_status::ExitStatus;
use crate::processes::in_flight::InFlightRequest;

/// The code in [`Event::BootFailed`] of a worker that was forked while another thread of the fork server held a lock. In
/// the copy that lock is never released; another fork of the same fork server may succeed.
pub const BAD_FORK: i32 = 75;

/// The settings that decisions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How many workers to keep, at least 1.
    pub workers: usize,
    /// How long a worker may send no heartbeat or be blocked; `None`: no limit.
    pub timeout: Option<Duration>,
    /// How long workers may take to finish their requests when they are stopped.
    pub graceful_timeout: Duration,
    /// How long the server continues to serve after a stop was requested.
    pub drain_delay: Duration,
    /// How long a worker may take to become ready; `None`: no limit.
    pub boot_timeout: Option<Duration>,
    /// How long old and new workers serve together in a reload before the new ones take over; `None`: not at all.
    pub canary_period: Option<Duration>,
    /// The canary period's limit: by how many hundredths of a percent the error rate of the new workers may exceed that of
    /// the old ones.
    pub canary_max_error_increase: u32,
    /// Requests after which a worker is replaced; 0: never.
    pub max_requests: u64,
    /// Largest random addition to `max_requests`, different for each worker.
    pub max_requests_jitter: u64,
    /// Serving time after which a worker is replaced; `None`: never.
    pub max_worker_age: Option<Duration>,
    /// A worker that uses more bytes of memory than this is replaced; 0: no limit.
    pub max_worker_memory: u64,
    /// A worker that uses more bytes of memory than this is stopped without waiting for its replacement; 0: no limit.
    pub max_worker_memory_hard: u64,
}

/// The settings and sockets that a worker gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The serving generation.
    Present,
    /// The generation that a reload has prepared.
    Next,
}

/// Why a worker should be replaced by a new one that is ready first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaceReason {
    /// It has reached its request limit.
    Requests(u64),
    /// It has reached its maximum age.
    Age,
    /// It has exceeded its memory limit.
    Memory {
        /// Bytes that it uses.
        held: u64,
        /// Bytes that it may use.
        most: u64,
    },
    /// It reports a request that cannot be ended and occupies a thread.
    StuckThread,
    /// Its application has asked for it.
    Asked,
}

/// The reason as a clause.
impl fmt::Display for ReplaceReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(count) => {
                write!(
                    out,
                    "it has handled {count} requests (setting: max_requests)"
                )
            }
            Self::Age => out.write_str("it has reached its maximum age (setting: max_worker_age)"),
            Self::Memory { held, most } => write!(
                out,
                "it uses {} MiB of memory, more than {} MiB (setting: max_worker_memory)",
                held >> 20,
                most >> 20
            ),
            Self::StuckThread => out.write_str("a request occupies a thread and cannot be ended"),
            Self::Asked => out.write_str("a hook has set worker.alive to False"),
        }
    }
}

/// The workers that one program hands over to the next one in the same process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerHandover {
    /// How many workers are wanted.
    pub wanted: usize,
    /// The value of the setting `workers`.
    pub setting: usize,
    /// The running workers.
    pub workers: Vec<WorkerSnapshot>,
}

/// A worker that is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerSnapshot {
    /// Its slot.
    pub slot: usize,
    /// Its process.
    pub pid: u32,
    /// How long it has served.
    pub served: Duration,
    /// It was ordered to stop.
    pub is_leaving: bool,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// All addresses are bound; workers may be forked.
    Start,
    /// Instead of [`Event::Start`]: workers exist already and are to be replaced.
    Resumed(WorkerHandover),
    /// [`Action::Fork`] has forked this process.
    Forked {
        /// The slot of the new worker.
        slot: usize,
        /// Its process.
        pid: u32,
    },
    /// [`Action::Fork`] has failed.
    ForkFailed {
        /// The slot that stays vacant.
        slot: usize,
        /// The error, for the log.
        reason: String,
    },
    /// [`Action::Fork`] has forked no process, because the fork server could not load the application.
    LoadFailed {
        /// The slot that stays vacant.
        slot: usize,
        /// The exit code, 3 or 4.
        code: i32,
        /// What the operator should read.
        text: String,
    },
    /// A worker has loaded the application and waits for [`Order::Open`].
    Ready {
        /// Its process.
        pid: u32,
    },
    /// A worker accepts connections.
    Serving {
        /// Its process.
        pid: u32,
    },
    /// A worker could not load the application and is about to exit.
    BootFailed {
        /// Its process.
        pid: u32,
        /// The exit code, 3 or 4.
        code: i32,
        /// What the operator should read.
        text: String,
    },
    /// A worker is alive.
    Heartbeat {
        /// Its process.
        pid: u32,
    },
    /// A worker reports that it has been blocked for longer than the timeout.
    Stuck {
        /// Its process.
        pid: u32,
    },
    /// A worker has finished its requests, and its exit is slow.
    Exiting {
        /// Its process.
        pid: u32,
    },
    /// A worker should be replaced, by its own request or for another reason.
    ReplaceWanted {
        /// Its process.
        pid: u32,
        /// Why.
        reason: ReplaceReason,
    },
    /// The request count and memory of a worker.
    Sampled {
        /// Its process.
        pid: u32,
        /// Requests that it has handled.
        requests: u64,
        /// Bytes of memory that it uses; 0: not measured.
        memory: u64,
    },
    /// The settings of the next generation are read and its addresses bound.
    Prepared(Rules),
    /// The next generation could not be prepared.
    PrepareFailed {
        /// Why, for the log.
        reason: String,
        /// What the operator should read besides: a traceback, after a first line that names its source.
        report: Option<String>,
    },
    /// The trial of the program on disk has succeeded.
    UpgradeTried,
    /// The trial or the exec has failed.
    UpgradeFailed {
        /// Why, for the log.
        reason: String,
    },
    /// Response counts of the workers so far.
    Counted(Vec<Responses>),
    /// A child process has exited. As PID 1 the supervisor also has reparented children.
    Exited {
        /// The process.
        pid: u32,
        /// Its exit status.
        exit_status: ExitStatus,
        /// Whether the OOM killer has just killed a process of this control group; `None`: unknown.
        memory_ran_out: Option<bool>,
        /// Its requests in flight.
        in_flight: Vec<InFlightRequest>,
    },
    /// A signal has arrived, or an operator's request.
    Requested(Request),
    /// Time has passed.
    Tick,
}

/// Response counters of a worker. They only grow, from any initial value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Responses {
    /// Its process.
    pub pid: u32,
    /// Responses of any kind.
    pub all: u64,
    /// Those with a server error.
    pub failed: u64,
}

/// A request to the supervisor, from a signal or an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// `SIGTERM`: stop after the requests in progress.
    Terminate,
    /// `SIGINT`: stop quickly.
    Interrupt,
    /// `SIGQUIT`: stop quickly.
    Quit,
    /// `SIGHUP`: replace the workers by new ones.
    Reload,
    /// `SIGUSR1`: open log files again.
    ReopenLogs,
    /// `SIGTTIN`: add a worker.
    MoreWorkers,
    /// `SIGTTOU`: remove a worker.
    FewerWorkers,
    /// `SIGUSR2`: replace the server by the version on disk.
    Upgrade,
    /// `SIGWINCH`: the terminal has a new size.
    WindowChange,
}

impl Request {
    /// The signal's name in lower case, without SIG.
    pub(super) fn signal(self) -> &'static str {
        match self {
            Self::Terminate => "term",
            Self::Interrupt => "int",
            Self::Quit => "quit",
            Self::Reload => "hup",
            Self::ReopenLogs => "usr1",
            Self::MoreWorkers => "ttin",
            Self::FewerWorkers => "ttou",
            Self::Upgrade => "usr2",
            Self::WindowChange => "winch",
        }
    }

    /// Whether it asks the server to stop.
    pub fn is_stop(self) -> bool {
        matches!(self, Self::Terminate | Self::Interrupt | Self::Quit)
    }
}

/// An action to perform, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Fork a worker; answered by [`Event::Forked`], [`Event::ForkFailed`] or [`Event::LoadFailed`]: at once, or with
    /// `preload` when the application is loaded.
    Fork {
        /// Its slot.
        slot: usize,
        /// The settings and the sockets that it gets.
        generation: Generation,
    },
    /// Read the settings again and bind new addresses; answered by [`Event::Prepared`] or [`Event::PrepareFailed`]: at
    /// once, or with a configuration in Python when it is evaluated, unless [`Action::Discard`] or
    /// [`Action::CloseListeners`] cancels it.
    Prepare,
    /// Read the response counts of all workers; answered at once by [`Event::Counted`].
    CountResponses,
    /// The prepared generation becomes the present one.
    SwitchOver,
    /// The number of wanted workers changes: the hook process runs `nworkers_changed`.
    AnnounceResize {
        /// From now on.
        new: usize,
        /// Before.
        old: usize,
    },
    /// The workers of the prepared generation are about to be forked: the hook process runs the hooks of a reload.
    AnnounceReload {
        /// How many.
        workers: usize,
    },
    /// Discard the prepared generation, or stop preparing one.
    Discard,
    /// Start a trial of the program on disk; answered later by [`Event::UpgradeTried`] or [`Event::UpgradeFailed`].
    TryUpgrade,
    /// Exec the program on disk. Answered by [`Event::UpgradeFailed`], or never.
    Upgrade(WorkerHandover),
    /// Send an order to a worker.
    Send {
        /// Its process.
        pid: u32,
        /// The order.
        order: Order,
    },
    /// Close the listening sockets, so that only workers take connections from their queues.
    CloseListeners,
    /// Reopen the supervisor's own log files.
    ReopenLogs,
    /// Write an event to the scoreboard.
    Record(ProgressEvent),
    /// Write to the error log.
    Log {
        /// Its severity.
        level: Level,
        /// The text, without a line end.
        message: String,
        /// What gunicorn's log says instead.
        gunicorn: Option<GunicornEvent>,
        /// What it is in the history of the server. Without it only warnings and errors are kept there.
        subject: Option<EventSubject>,
    },
    /// Write to the error log if it follows gunicorn: Lockgate has no such line.
    LogForGunicorn(GunicornEvent),
    /// Report the status to the service manager and to readiness checks.
    ReportStatus(Status),
    /// Exit; always the last action.
    Exit {
        /// The exit code of the server.
        code: i32,
    },
}

/// An order to a worker: over the control channel, except for the last two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Accept connections.
    Open,
    /// Let other workers accept new connections first.
    GiveWay,
    /// Other workers have taken over: finish all requests without haste, then exit.
    Retire,
    /// Finish the requests in progress, then exit.
    Drain,
    /// Exit now.
    Stop,
    /// Reopen the log files.
    ReopenLogs,
    /// `SIGABRT`: dump the stacks and exit.
    Abort,
    /// `SIGKILL`.
    Kill,
}
