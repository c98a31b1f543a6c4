//! What the supervisor tells of its own course, for whoever watches it. Knows no page, no log and no service manager.

use lockgate_observe::ExitCause;

/// Something that is true from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A reload begins.
    ReloadBegun,
    /// So many of the new workers are ready.
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
    /// The reload has come to nothing.
    ReloadFailed {
        /** Why, with the traceback if there is one. */
        why: String,
    },
    /// A worker has ended.
    WorkerExited(ExitCause),
}
