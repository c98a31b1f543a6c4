//! What happens to the supervisor and what it wants done. Plain data: no process, descriptor or clock.

use std::fmt;
use std::time::Duration;

use lockgate_observe::Level;

use super::{Fact, Status};
use crate::{Ending, Unfinished};

/// The settings that decisions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How many workers to keep, at least 1.
    pub workers: usize,
    /// How long a worker may be silent or held up; `None`: for ever.
    pub timeout: Option<Duration>,
    /// How long workers may take to finish when they are asked to.
    pub graceful_timeout: Duration,
    /// How long the server goes on serving when it is asked to stop.
    pub drain_delay: Duration,
    /// How long a worker may take to become ready; `None`: for ever.
    pub boot_timeout: Option<Duration>,
    /// How long the old workers go on beside the new ones after a reload; `None`: not at all.
    pub reload_watch: Option<Duration>,
    /// By how many hundredths of a per cent the new workers' share of errors may exceed the old ones' in that time.
    pub reload_watch_errors: u32,
    /// After how many requests a worker is replaced; 0: never.
    pub max_requests: u64,
    /// By how many requests more, at most, that differs from worker to worker.
    pub max_requests_jitter: u64,
    /// After which time of serving a worker is replaced; `None`: never.
    pub max_worker_age: Option<Duration>,
    /// A worker that holds more bytes of memory is replaced; 0: however much.
    pub max_worker_memory: u64,
    /// A worker that holds more bytes of memory is ended; 0: however much.
    pub max_worker_memory_hard: u64,
}

/// Which of two sets of settings and sockets a worker is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The one that serves.
    Present,
    /// The one that a reload has prepared.
    Next,
}

/// Why a worker should be replaced by a new one that is ready first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaceReason {
    /// It has taken up as many requests as it may.
    Requests(u64),
    /// It has served for as long as it may.
    Age,
    /// It holds more memory than it may.
    Memory {
        /** Bytes that it holds. */
        held: u64,
        /** Bytes that it may hold. */
        most: u64,
    },
    /// It says that a request cannot be ended: a thread is lost.
    StuckThread,
}

/// Why, as a clause.
impl fmt::Display for ReplaceReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(count) => {
                write!(
                    out,
                    "it has taken up {count} requests (setting: max_requests)"
                )
            }
            Self::Age => out.write_str("it has served long enough (setting: max_worker_age)"),
            Self::Memory { held, most } => write!(
                out,
                "it holds {} MiB of memory and may hold {} (setting: max_worker_memory)",
                held >> 20,
                most >> 20
            ),
            Self::StuckThread => out.write_str("a request in it does not end"),
        }
    }
}

/// What another program has left that has run in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// How many workers were wanted.
    pub wanted: usize,
    /// What the setting `workers` was.
    pub workers: usize,
    /// Its workers.
    pub children: Vec<Known>,
}

/// A worker that one program of this process knows and the next one has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its slot.
    pub slot: usize,
    /// Its process.
    pub pid: u32,
    /// How long it has served.
    pub served: Duration,
    /// It was asked to leave.
    pub is_leaving: bool,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Everything is bound; workers may be made.
    Start,
    /// Instead of [`Event::Start`]: workers are there, and are to be replaced.
    Resumed(Inherited),
    /// [`Action::Fork`] made this process.
    Forked {
        /** The slot of the new worker. */
        slot: usize,
        /** Its process. */
        pid: u32,
    },
    /// [`Action::Fork`] made no process.
    ForkFailed {
        /** The slot that stays vacant. */
        slot: usize,
        /** The error, for the log. */
        reason: String,
    },
    /// [`Action::Fork`] made no process, because the application that it was to be made of cannot be loaded.
    NotLoaded {
        /** The slot that stays vacant. */
        slot: usize,
        /** The exit code, 3 or 4. */
        code: i32,
        /** What the operator should read. */
        text: String,
    },
    /// A worker has loaded the application, and waits for [`Order::Open`].
    Ready {
        /** Its process. */
        pid: u32,
    },
    /// A worker accepts connections.
    Serving {
        /** Its process. */
        pid: u32,
    },
    /// A worker could not load the application and is about to exit.
    BootFailed {
        /** Its process. */
        pid: u32,
        /** The exit code, 3 or 4. */
        code: i32,
        /** What the operator should read. */
        text: String,
    },
    /// A worker is alive.
    Heartbeat {
        /** Its process. */
        pid: u32,
    },
    /// A worker says of itself that it has been held up for longer than the timeout.
    Stuck {
        /** Its process. */
        pid: u32,
    },
    /// A worker has finished its requests, and its exit takes long.
    Exiting {
        /** Its process. */
        pid: u32,
    },
    /// A worker should make room for a new one, says it or somebody who knows.
    ReplaceWanted {
        /** Its process. */
        pid: u32,
        /** Why. */
        reason: ReplaceReason,
    },
    /// Somebody has looked at a worker.
    Measured {
        /** Its process. */
        pid: u32,
        /** Requests that it has taken up. */
        requests: u64,
        /** Bytes of memory that it holds; 0 when nobody has looked. */
        memory: u64,
    },
    /// The settings of the next generation are read and its addresses bound.
    Prepared(Rules),
    /// There can be no next generation.
    NotPrepared {
        /** Why, for the log. */
        reason: String,
    },
    /// The program on disk could go on in this process.
    UpgradeTried,
    /// It could not, or did not.
    UpgradeFailed {
        /** Why, for the log. */
        reason: String,
    },
    /// What workers have answered so far.
    Counted(Vec<Responses>),
    /// A child process is no more. As PID 1 the supervisor also inherits strangers.
    Exited {
        /** The process. */
        pid: u32,
        /** How it ended. */
        ending: Ending,
        /** Whether the kernel has just killed in this control group for want of memory; `None`: there is no telling. */
        memory_ran_out: Option<bool>,
        /** What it was running. */
        unfinished: Vec<Unfinished>,
    },
    /// A signal came in.
    Requested(Request),
    /// Time has passed.
    Tick,
}

/// What a worker has answered. The numbers only grow, and begin anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Responses {
    /// Its process.
    pub pid: u32,
    /// Responses of any kind.
    pub all: u64,
    /// Those that were errors of the server's side.
    pub failed: u64,
}

/// What a signal asks of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// `SIGTERM`: stop, finishing what has begun.
    Terminate,
    /// `SIGINT`: stop quickly.
    Interrupt,
    /// `SIGQUIT`: stop quickly.
    Quit,
    /// `SIGHUP`: replace the workers by new ones.
    Reload,
    /// `SIGUSR1`: open log files again.
    ReopenLogs,
    /// `SIGTTIN`: one worker more.
    MoreWorkers,
    /// `SIGTTOU`: one worker less.
    FewerWorkers,
    /// `SIGUSR2`: go on as the version of the server that is on disk.
    Upgrade,
    /// `SIGWINCH`: the terminal has a new size.
    WindowChange,
}

impl Request {
    /// Whether the server is to stop.
    pub fn asks_to_stop(self) -> bool {
        matches!(self, Self::Terminate | Self::Interrupt | Self::Quit)
    }
}

/// Something to be done, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a worker; answered by [`Event::Forked`], [`Event::ForkFailed`] or [`Event::NotLoaded`]: at once, or with `preload`
    /// when the application is loaded.
    Fork {
        /** Its slot. */
        slot: usize,
        /** The settings and the sockets that it gets. */
        generation: Generation,
    },
    /// Read the settings again and bind what is new; answered at once by [`Event::Prepared`] or [`Event::NotPrepared`].
    Prepare,
    /// Look at what every worker has answered; answered at once by [`Event::Counted`].
    Count,
    /// What was prepared is the present generation from now on.
    Move,
    /// Forget what was prepared.
    Discard,
    /// See whether the program on disk could go on in this process; answered some time later by [`Event::UpgradeTried`] or
    /// [`Event::UpgradeFailed`].
    TryUpgrade,
    /// Go on as the program on disk. Answered by [`Event::UpgradeFailed`], or never.
    Upgrade {
        /** How many workers are wanted. */
        wanted: usize,
        /** What the setting `workers` is. */
        workers: usize,
        /** The workers that are there. */
        children: Vec<Known>,
    },
    /// Give a worker an order.
    Send {
        /** Its process. */
        pid: u32,
        /** What it is told. */
        order: Order,
    },
    /// Let go of the listening sockets, so that only workers take connections from their queues.
    CloseListeners,
    /// Open the supervisor's own log files again.
    ReopenLogs,
    /// Write onto the shared page how a reload goes.
    Record(Fact),
    /// Write to the error log.
    Log {
        /** Its severity. */
        level: Level,
        /** The text, without a line end. */
        message: String,
    },
    /// Tell whoever started the server, and those who ask whether it is ready.
    Tell(Status),
    /// Leave; the last action ever.
    Exit {
        /** The exit code of the server. */
        code: i32,
    },
}

/// What a worker is told: over its orders pipe, except for the last two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Accept connections.
    Open,
    /// Others are to have new connections first.
    GiveWay,
    /// Others serve in its place; finish without haste, then leave.
    Retire,
    /// Finish what has begun, then leave.
    Drain,
    /// Leave now.
    Stop,
    /// Open log files again.
    ReopenLogs,
    /// By `SIGABRT`: leave a trace and die.
    Abort,
    /// By `SIGKILL`.
    Kill,
}
