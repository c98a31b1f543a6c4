//! The result of a fork: in which process the caller is now.

use crate::supervisor::Event;

/// See the module.
pub(super) enum Forked<C> {
    /// The supervisor, with events to handle before any other.
    Parent(Vec<Event>),
    /// The new process.
    Child(C),
}
