//! What happens to the supervisor and what it wants done. Plain data: no process, descriptor or clock.

use std::time::Duration;

use lockgate_observe::Level;

use crate::Ending;

/// The settings that decisions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How many workers to keep, at least 1.
    pub workers: usize,
    /// How long a worker may be silent or held up; `None`: for ever.
    pub timeout: Option<Duration>,
    /// How long workers may take to finish when they are asked to.
    pub graceful_timeout: Duration,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Everything is bound; workers may be made.
    Start,
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
    /// A worker has loaded the application.
    Ready {
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
    /// A child process is no more. As PID 1 the supervisor also inherits strangers.
    Exited {
        /** The process. */
        pid: u32,
        /** How it ended. */
        ending: Ending,
    },
    /// A signal came in.
    Requested(Request),
    /// Time has passed.
    Tick,
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
    /// `SIGUSR2`: replace the server by a new one.
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
    /// Make a worker; answered at once by [`Event::Forked`] or [`Event::ForkFailed`].
    Fork {
        /** Its slot. */
        slot: usize,
    },
    /// Signal a worker.
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
    /// Write to the error log.
    Log {
        /** Its severity. */
        level: Level,
        /** The text, without a line end. */
        message: String,
    },
    /// Leave; the last action ever.
    Exit {
        /** The exit code of the server. */
        code: i32,
    },
}

/// What a worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `SIGTERM`: finish what has begun, then leave.
    Drain,
    /// `SIGINT`: leave now.
    Stop,
    /// `SIGUSR1`: open log files again.
    ReopenLogs,
    /// `SIGABRT`: leave a trace and die.
    Abort,
    /// `SIGKILL`.
    Kill,
}
