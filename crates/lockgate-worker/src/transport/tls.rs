//! The TLS transport: rustls over a socket.
//!
//! One lock protects the session. The owner of the connection holds it for one operation that does not wait; other
//! threads take it only to read a streamed body, or to end the connection at a deadline. Records are decrypted and
//! encrypted in buffers of the thread ([`scratch`]), so that an idle connection holds none.

mod failure;
mod pieces;
mod scratch;
mod session;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use lockgate_tls::{Acceptor, TlsInfo};
use rustix::net::Shutdown;

use self::session::Session;
use super::{AbortHandle, Handshake, Received, SharedTransport, Transport};
use crate::transport::descriptors::TrackedFd;

pub use self::failure::HandshakeFailure;

/// A TLS connection over a TCP or unix stream socket.
pub struct Tls(Arc<Shared>);

/// What other threads see as long as the connection lives.
struct Shared {
    socket: TrackedFd,
    session: Mutex<Session>,
    /// Made when it is asked for first.
    info: OnceLock<Arc<TlsInfo>>,
}

impl Tls {
    /// Takes over a connected, non-blocking socket.
    pub fn new(socket: TrackedFd, acceptor: Arc<Acceptor>) -> Self {
        Self(Arc::new(Shared {
            socket,
            session: Mutex::new(Session::new(acceptor)),
            info: OnceLock::new(),
        }))
    }
}

impl Shared {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Tls {
    fn begins_with_handshake(&self) -> bool {
        self.0.session().is_handshaking()
    }

    fn handshake(&mut self) -> io::Result<Handshake> {
        self.0.session().handshake(&self.0.socket)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        self.0.session().read(&self.0.socket, buffer)
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.session().write(&self.0.socket, pieces)
    }

    /// The kernel cannot encrypt for this process.
    fn send_file(&mut self, _file: &File, _offset: u64, _length: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn abort_handle(&self) -> Weak<dyn AbortHandle> {
        let shared: Weak<Shared> = Arc::downgrade(&self.0);
        shared
    }

    fn share(&self) -> Weak<dyn SharedTransport> {
        let shared: Weak<Shared> = Arc::downgrade(&self.0);
        shared
    }

    fn has_pending_output(&self) -> bool {
        self.0.session().has_pending_output()
    }

    fn push(&mut self) -> io::Result<()> {
        self.0.session().push(&self.0.socket)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.session().close_notify(&self.0.socket);
        Ok(rustix::net::shutdown(&self.0.socket, Shutdown::Write)?)
    }

    fn reset_on_close(&mut self) {
        self.0.session().forbid_close_notify();
        super::plain::reset_on_close(&self.0.socket);
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }

    fn is_encrypted(&self) -> bool {
        true
    }

    fn tls_info(&self) -> Option<Arc<TlsInfo>> {
        if let Some(info) = self.0.info.get() {
            return Some(Arc::clone(info));
        }
        let info = Arc::new(self.0.session().info()?);
        Some(Arc::clone(self.0.info.get_or_init(|| info)))
    }
}

/// A client learns from close_notify that what it received was complete, and that the connection was closed on purpose.
impl Drop for Tls {
    fn drop(&mut self) {
        self.0.session().close_notify(&self.0.socket);
    }
}

impl SharedTransport for Shared {
    fn read(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.session().read(&self.socket, buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match self.session().write(&self.socket, &[IoSlice::new(bytes)])? {
            count if count == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn end_reads(&self) {
        SharedTransport::end_reads(&self.socket);
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AbortHandle for Shared {
    fn answer(&self, response: &[u8]) -> bool {
        let mut session = self.session();
        let written = session.write(&self.socket, &[IoSlice::new(response)]);
        let is_sent = written.is_ok_and(|count| count == response.len())
            && session.push(&self.socket).is_ok();
        if is_sent {
            session.close_notify(&self.socket);
            // Fails only if the client has closed meanwhile.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        }
        // The owner writes nothing more, and a part of a record is not followed by another.
        session.end_writes();
        is_sent
    }

    fn abort(&self) {
        self.session().forbid_close_notify();
        AbortHandle::abort(&self.socket);
    }
}
