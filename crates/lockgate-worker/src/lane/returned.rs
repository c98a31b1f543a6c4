//! What reaches the lane from threads that do not lead it.

#[cfg(test)]
use super::Lane;
use crate::connection::Connection;

/// What a crew thread that does not lead has for the lane.
pub enum Returned {
    /// There is something to do on it: input, a full socket, a timer.
    Connection(Box<Connection>),
    /// It is closed; its slot is free.
    Closed(u64),
    /// The application is finished with its last request: the next one may be called.
    Released(u64),
    /// The worker may accept connections.
    Opening,
    /// Others should accept connections before this worker does.
    GivingWay,
    /// A test wants to see the lane.
    #[cfg(test)]
    Visit(Box<dyn FnOnce(&mut Lane) + Send>),
}
