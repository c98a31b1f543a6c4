//! Progress events of the supervisor, for metrics and for clients that wait for a reload.

use lockgate_observe::ExitCause;

/// An event that has just become true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A reload begins.
    ReloadBegun,
    /// This many of the new workers are ready.
    ReloadReady {
        /** How many are. */
        ready: usize,
        /** How many there are to be. */
        wanted: usize,
    },
    /// All new workers are ready, and may accept.
    ReloadMoving,
    /// The new workers have taken over.
    ReloadDone,
    /// The reload has failed.
    ReloadFailed {
        /** Why, with the traceback if there is one. */
        why: String,
    },
    /// A worker has ended.
    WorkerExited(ExitCause),
}
