//! How bytes enter and leave: a plain socket today, TLS behind the same trait. Knows no HTTP.
//!
//! Invariant: nothing here waits; `WouldBlock` is an answer, and the poller says when to come back.

mod plain;

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Weak;

pub use plain::Plain;

use crate::descriptors::Noted;

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the caller's buffer; 0 at the end of the stream.
    pub count: usize,
    /// Nothing more can be read before the poller reports the next edge. False: read again.
    pub is_drained: bool,
}

/// Ends a connection whose owner is busy, from any thread. Nothing of the response in question has been written when
/// [`AbortHandle::answer`] is called; the owner sees a dead connection afterwards.
pub trait AbortHandle: Send + Sync {
    /// Sends the whole of `response` at once and then the end of the stream; false if the peer does not take it at once.
    fn answer(&self, response: &[u8]) -> bool;

    /// Ends the connection so that the peer takes nothing that it got for complete.
    fn abort(&self);
}

/// A connected, non-blocking byte stream with a descriptor that a poller can watch.
///
/// A transport may transform bytes (TLS) and so hold some: `has_pending_output` then says that `write` has accepted
/// more than the socket took, and `push` has to be called again when the socket is writable.
pub trait Transport: Send {
    /// Reads what has arrived. A count of 0 is the end of what the peer sends.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; anything else ends the connection.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received>;

    /// Writes as much of `pieces`, in order, as is taken without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when nothing was taken; anything else ends the connection.
    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends up to `length` bytes of `file` from `offset` on without passing them through this process.
    ///
    /// # Errors
    /// `Unsupported` when the transport has to see the bytes: the caller then reads and writes them.
    fn send_file(&mut self, file: &File, offset: u64, length: u64) -> io::Result<usize>;

    /// While corked, the end of what is written may wait in the kernel for more to come, so that small pieces leave
    /// together: until more is written uncorked, the lane's next leader pulls the cork, or 200 ms have passed
    /// (send(2), MSG_MORE). A transport that cannot do this sends at once.
    fn set_corked(&mut self, _is_corked: bool) {}

    /// The socket, for another thread to uncork. A transport that cannot be corked has none to give.
    fn corked_socket(&self) -> Weak<Noted> {
        Weak::new()
    }

    /// What ends this connection from a thread that does not own it: a request's deadline does not wait for its owner.
    fn abort_handle(&self) -> Weak<dyn AbortHandle>;

    /// Whether accepted output has not reached the socket yet.
    fn has_pending_output(&self) -> bool {
        false
    }

    /// Moves pending output to the socket.
    ///
    /// # Errors
    /// `WouldBlock` while some is left.
    fn push(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Tells the peer that nothing more will be sent (FIN, close_notify), while reading goes on.
    ///
    /// # Errors
    /// Whatever the socket says; the caller closes anyway.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Makes the coming close a reset, so that the peer takes nothing that it got for complete.
    fn reset_on_close(&mut self);

    /// The descriptor to watch.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Whether the peer's bytes were protected on the way.
    fn is_encrypted(&self) -> bool {
        false
    }
}
