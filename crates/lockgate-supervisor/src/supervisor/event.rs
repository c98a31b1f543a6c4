//! The events and actions of the supervisor, as plain data.

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
    /// How long a worker may be silent or blocked; `None`: forever.
    pub timeout: Option<Duration>,
    /// How long workers may take to finish when they are asked to.
    pub graceful_timeout: Duration,
    /// How long the server goes on serving when it is asked to stop.
    pub drain_delay: Duration,
    /// How long a worker may take to become ready; `None`: forever.
    pub boot_timeout: Option<Duration>,
    /// How long the old workers run beside the new ones after a reload (canary period); `None`: not at all.
    pub canary_period: Option<Duration>,
    /// By how many hundredths of a percent the new workers' error rate may exceed the old ones' during that time.
    pub canary_max_error_increase: u32,
    /// Requests after which a worker is replaced; 0: never.
    pub max_requests: u64,
    /// Largest random addition to `max_requests`, different for each worker.
    pub max_requests_jitter: u64,
    /// Serving time after which a worker is replaced; `None`: never.
    pub max_worker_age: Option<Duration>,
    /// A worker that holds more bytes of memory than this is replaced; 0: no limit.
    pub max_worker_memory: u64,
    /// A worker that holds more bytes of memory than this is ended; 0: no limit.
    pub max_worker_memory_hard: u64,
}

/// Which settings and sockets a worker gets.
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
        /** Bytes that it holds. */
        held: u64,
        /** Bytes that it may hold. */
        most: u64,
    },
    /// It reports a request that cannot be ended: a thread is lost.
    StuckThread,
}

/// The reason as a clause.
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

/// What the previous program in this process has handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// How many workers were wanted.
    pub wanted: usize,
    /// The value of the setting `workers`.
    pub workers: usize,
    /// Its workers.
    pub children: Vec<Known>,
}

/// A worker that is handed over to the next program in this process.
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
    /// All addresses are bound; workers may be forked.
    Start,
    /// Instead of [`Event::Start`]: workers exist already and are to be replaced.
    Resumed(Inherited),
    /// [`Action::Fork`] has forked this process.
    Forked {
        /** The slot of the new worker. */
        slot: usize,
        /** Its process. */
        pid: u32,
    },
    /// [`Action::Fork`] has failed.
    ForkFailed {
        /** The slot that stays vacant. */
        slot: usize,
        /** The error, for the log. */
        reason: String,
    },
    /// [`Action::Fork`] has forked no process, because the template could not load the application.
    NotLoaded {
        /** The slot that stays vacant. */
        slot: usize,
        /** The exit code, 3 or 4. */
        code: i32,
        /** What the operator should read. */
        text: String,
    },
    /// A worker has loaded the application and waits for [`Order::Open`].
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
    /// A worker reports that it has been blocked for longer than the timeout.
    Stuck {
        /** Its process. */
        pid: u32,
    },
    /// A worker has finished its requests, and its exit takes long.
    Exiting {
        /** Its process. */
        pid: u32,
    },
    /// A worker should be replaced, by its own request or for another reason.
    ReplaceWanted {
        /** Its process. */
        pid: u32,
        /** Why. */
        reason: ReplaceReason,
    },
    /// The request count and memory of a worker.
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
    /// The next generation could not be prepared.
    NotPrepared {
        /** Why, for the log. */
        reason: String,
    },
    /// The trial of the program on disk has succeeded.
    UpgradeTried,
    /// The trial or the exec has failed.
    UpgradeFailed {
        /** Why, for the log. */
        reason: String,
    },
    /// Response counts of the workers so far.
    Counted(Vec<Responses>),
    /// A child process has exited. As PID 1 the supervisor also has reparented children.
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
    /// `SIGUSR2`: replace the server by the version on disk.
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

/// An action to perform, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Fork a worker; answered by [`Event::Forked`], [`Event::ForkFailed`] or [`Event::NotLoaded`]: at once, or with
    /// `preload` when the application is loaded.
    Fork {
        /** Its slot. */
        slot: usize,
        /** The settings and the sockets that it gets. */
        generation: Generation,
    },
    /// Read the settings again and bind new addresses; answered at once by [`Event::Prepared`] or
    /// [`Event::NotPrepared`].
    Prepare,
    /// Read the response counts of all workers; answered at once by [`Event::Counted`].
    Count,
    /// The prepared generation becomes the present one.
    Move,
    /// Discard the prepared generation.
    Discard,
    /// Start a trial of the program on disk; answered later by [`Event::UpgradeTried`] or [`Event::UpgradeFailed`].
    TryUpgrade,
    /// Exec the program on disk. Answered by [`Event::UpgradeFailed`], or never.
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
    /// Close the listening sockets, so that only workers take connections from their queues.
    CloseListeners,
    /// Reopen the supervisor's own log files.
    ReopenLogs,
    /// Write the progress of a reload to the scoreboard.
    Record(Fact),
    /// Write to the error log.
    Log {
        /** Its severity. */
        level: Level,
        /** The text, without a line end. */
        message: String,
    },
    /// Report the status to the service manager and to readiness checks.
    Tell(Status),
    /// Exit; always the last action.
    Exit {
        /** The exit code of the server. */
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
    /// Other workers have taken over: finish without haste, then leave.
    Retire,
    /// Finish what has begun, then leave.
    Drain,
    /// Leave now.
    Stop,
    /// Reopen the log files.
    ReopenLogs,
    /// `SIGABRT`: leave a trace and die.
    Abort,
    /// `SIGKILL`.
    Kill,
}
