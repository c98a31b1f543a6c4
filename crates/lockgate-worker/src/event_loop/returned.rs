//! What threads that do not lead return to the event loop.

#[cfg(test)]
use super::EventLoop;
use crate::http1::Connection;

/// An item for the event loop.
pub enum Returned {
    /// A connection with something to do: input, a full socket, a timer.
    Connection(Box<Connection>),
    /// A connection was closed; its slot is free.
    Closed(u64),
    /// The application has finished with the connection's last request: the next one may be called.
    Released(u64),
    /// The worker may accept connections.
    Opening,
    /// Other workers should accept connections before this one does.
    GivingWay,
    /// A test wants to see the event loop.
    #[cfg(test)]
    Visit(Box<dyn FnOnce(&mut EventLoop) + Send>),
}
