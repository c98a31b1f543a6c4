//! The status of the server, as the service manager shows it.

use std::fmt;
use std::time::Duration;

use crate::seconds::Seconds;

/// A status; displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The first workers load the application.
    Booting {
        /// How many are ready.
        ready: usize,
        /// How many are wanted.
        all: usize,
    },
    /// All workers of a generation are ready, whether the first one or a later one.
    Ready {
        /// How many.
        workers: usize,
    },
    /// The server accepts connections.
    Serving {
        /// How many workers accept them.
        serving: usize,
        /// How many are wanted.
        wanted: usize,
    },
    /// A reload begins.
    Reloading,
    /// The workers of the next generation load the application.
    NextBooting {
        /// How many are ready.
        ready: usize,
        /// How many are wanted.
        all: usize,
    },
    /// A reload has failed.
    ReloadFailed {
        /// Why.
        why: String,
    },
    /// A stop begins.
    Stopping {
        /// How long the server continues to serve (setting: drain_delay).
        delay: Duration,
        /// The exit code of the server.
        code: i32,
    },
    /// Workers finish their requests.
    Draining {
        /// How many have not exited yet.
        left: usize,
    },
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Booting { ready, all } => {
                write!(out, "booting: {ready} of {all} workers are ready")
            }
            Self::Ready { workers: 1 }
            | Self::Serving {
                serving: 1,
                wanted: 1,
            } => out.write_str("1 worker serves"),
            Self::Ready { workers } => write!(out, "{workers} workers serve"),
            Self::Serving { serving, wanted } if serving == wanted => {
                write!(out, "{wanted} workers serve")
            }
            Self::Serving { serving, wanted } => {
                write!(out, "{serving} of {wanted} workers serve")
            }
            Self::Reloading => out.write_str("reload: starting new workers"),
            Self::NextBooting { ready, all } => {
                write!(out, "reload: {ready} of {all} new workers are ready")
            }
            Self::ReloadFailed { why } => write!(
                out,
                "reload failed: {why}; the old workers continue to serve"
            ),
            Self::Stopping { code, .. } if *code != 0 => {
                write!(
                    out,
                    "stopping: the application did not start (exit code {code})"
                )
            }
            Self::Stopping { delay, .. } if delay.is_zero() => out.write_str("stopping"),
            Self::Stopping { delay, .. } => write!(
                out,
                "stop requested: serving for another {}",
                Seconds(*delay)
            ),
            Self::Draining { left: 1 } => out.write_str("draining: 1 worker left"),
            Self::Draining { left } => write!(out, "draining: {left} workers left"),
        }
    }
}
