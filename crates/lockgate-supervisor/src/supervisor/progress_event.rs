//! Progress events: what the supervisor writes to the scoreboard, for metrics and for clients that wait for a reload.

use lockgate_observe::ExitCause;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgressEvent {
    /// A reload begins.
    ReloadBegun,
    /// This many of the new workers are ready.
    ReloadReady {
        /// How many are ready.
        ready: usize,
        /// How many are wanted.
        wanted: usize,
    },
    /// All new workers are ready, and may accept.
    ReloadMoving,
    /// The new workers have taken over.
    ReloadDone,
    /// The reload has failed.
    ReloadFailed {
        /// Why, with the traceback if there is one.
        why: String,
    },
    /// A worker has exited.
    WorkerExited(ExitCause),
}
