//! Transports: how bytes are read and written. A plain socket today, TLS behind the same trait.
//!
//! Invariant: no method waits; `WouldBlock` is a result, and the poller reports when to try again.

pub(crate) mod cork;
pub(crate) mod descriptors;
pub(crate) mod outbox;
pub(crate) mod page_cache;
mod plain;
mod resettable;
mod tls;

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Weak};

use lockgate_tls::TlsInfo;

pub use plain::Plain;
pub use resettable::Resettable;
pub use tls::{HandshakeFailure, Tls};

use crate::transport::descriptors::TrackedFd;

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the caller's buffer; 0 at the end of the stream.
    pub count: usize,
    /// Nothing more can be read before the poller reports the next edge. False: read again.
    pub is_drained: bool,
}

/// The state of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// Bytes of the application may pass.
    Done {
        /// The protocol that both sides have agreed on (ALPN, RFC 7301).
        alpn: Option<Vec<u8>>,
        /// As in [`Received`]: nothing that follows the handshake has arrived with it.
        is_drained: bool,
        /// An earlier session continues.
        is_resumed: bool,
    },
    /// It continues when the socket is readable.
    WantRead,
    /// It continues when the socket is writable.
    WantWrite,
}

/// Ends a connection from a thread that does not own it. No part of the response has been written when
/// [`AbortHandle::answer`] is called; the owner sees a dead connection afterwards.
pub trait AbortHandle: Send + Sync {
    /// Sends all of `response` at once and then the end of the stream; false if the peer does not take it at once.
    fn answer(&self, response: &[u8]) -> bool;

    /// Ends the connection so that the peer does not take what it received for complete.
    fn abort(&self);
}

/// Reads from a connection whose owner, another thread perhaps, writes to it.
pub trait SharedTransport: Send + Sync {
    /// As [`Transport::read`].
    ///
    /// # Errors
    /// As [`Transport::read`].
    fn read(&self, buffer: &mut [u8]) -> io::Result<Received>;

    /// Writes a few bytes while nothing else is on its way to the peer.
    ///
    /// # Errors
    /// The peer does not take all of them at once, or the connection is dead.
    fn write(&self, bytes: &[u8]) -> io::Result<()>;

    /// Ends the reads that wait, on any thread; the peer does not notice.
    fn end_reads(&self);

    /// The descriptor to wait for.
    fn descriptor(&self) -> BorrowedFd<'_>;
}

/// A connected, non-blocking byte stream with a descriptor that a poller can watch.
///
/// A transport may transform bytes (TLS) and so buffer some: `has_pending_output` then returns that `write` has
/// accepted more than the socket took, and `push` has to be called again when the socket is writable.
pub trait Transport: Send {
    /// Whether [`Transport::handshake`] has to be called until it is done.
    fn begins_with_handshake(&self) -> bool {
        false
    }

    /// Begins or continues the handshake, before anything else is read or written.
    ///
    /// # Errors
    /// The handshake has failed: the connection ends.
    fn handshake(&mut self) -> io::Result<Handshake> {
        Ok(Handshake::Done {
            alpn: None,
            is_drained: false,
            is_resumed: false,
        })
    }

    /// Reads what has arrived. A count of 0 is the end of the peer's stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; anything else ends the connection.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received>;

    /// Writes as much of `pieces`, in order, as is accepted without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when nothing was accepted; anything else ends the connection.
    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// As [`Transport::write`], where a part of a file follows at once: both may leave together.
    ///
    /// # Errors
    /// As [`Transport::write`].
    fn write_before_file(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(pieces)
    }

    /// Sends up to `length` bytes of `file` from `offset` on without passing them through this process.
    ///
    /// # Errors
    /// `Unsupported` when the transport has to see the bytes: the caller then reads and writes them.
    fn send_file(&mut self, file: &File, offset: u64, length: u64) -> io::Result<usize>;

    /// While corked, the end of what is written may wait in the kernel for more data, so that small pieces are sent
    /// together: until more is written uncorked, the event loop's next leader uncorks it, or 200 ms have passed
    /// (send(2), MSG_MORE). A transport that cannot do this sends at once.
    fn set_corked(&mut self, _is_corked: bool) {}

    /// The socket, for another thread to uncork. A transport that cannot be corked returns none.
    fn corked_socket(&self) -> Weak<TrackedFd> {
        Weak::new()
    }

    /// Ends this connection from a thread that does not own it: a request's deadline does not wait for the owner.
    fn abort_handle(&self) -> Weak<dyn AbortHandle>;

    /// The receiving half, for an application that reads while the response is written. It ends with the connection.
    fn share(&self) -> Weak<dyn SharedTransport>;

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

    /// Signals to the peer that nothing more will be sent (FIN, close_notify), while reading continues.
    ///
    /// # Errors
    /// Any error of the socket; the caller closes anyway.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Makes the coming close a reset, so that the peer does not take what it received for complete.
    fn reset_on_close(&mut self);

    /// The descriptor to watch.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Whether the peer's bytes were protected on the way.
    fn is_encrypted(&self) -> bool {
        false
    }

    /// What the handshake of TLS has agreed on. Made when it is asked for first.
    fn tls_info(&self) -> Option<Arc<TlsInfo>> {
        None
    }
}
