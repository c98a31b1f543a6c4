//! The plain transport: a TCP or unix socket, one system call per method.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::net::{RecvFlags, Shutdown};

use super::{AbortHandle, Received, SharedTransport, Transport};
use crate::os::{self, MORE, NO_SIGNAL};
use crate::transport::descriptors::TrackedFd;

/// A TCP or unix stream socket.
#[derive(Debug)]
pub struct Plain {
    /// Shared only with threads that may have to uncork it, or to end it at a deadline.
    socket: Arc<TrackedFd>,
    is_corked: bool,
}

impl Plain {
    /// Takes over a connected, non-blocking socket.
    pub fn new(socket: TrackedFd) -> Self {
        Self {
            socket: Arc::new(socket),
            is_corked: false,
        }
    }

    fn send(&self, pieces: &[IoSlice<'_>], is_more_to_come: bool) -> io::Result<usize> {
        let mut flags = NO_SIGNAL;
        flags.set(MORE, is_more_to_come);
        if let [piece] = pieces {
            return Ok(rustix::net::send(&*self.socket, piece, flags)?);
        }
        let mut control = rustix::net::SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(
            &*self.socket,
            pieces,
            &mut control,
            flags,
        )?)
    }

    pub(super) fn socket(&self) -> Arc<TrackedFd> {
        Arc::clone(&self.socket)
    }
}

impl Transport for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        SharedTransport::read(&*self.socket, buffer)
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send(pieces, self.is_corked)
    }

    fn write_before_file(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send(pieces, true)
    }

    fn set_corked(&mut self, is_corked: bool) {
        self.is_corked = is_corked;
    }

    fn corked_socket(&self) -> Weak<TrackedFd> {
        Arc::downgrade(&self.socket)
    }

    fn abort_handle(&self) -> Weak<dyn AbortHandle> {
        // The annotation selects the type: a weak reference to the trait object is made from one to the socket.
        let socket: Weak<TrackedFd> = Arc::downgrade(&self.socket);
        socket
    }

    fn share(&self) -> Weak<dyn SharedTransport> {
        let socket: Weak<TrackedFd> = Arc::downgrade(&self.socket);
        socket
    }

    fn send_file(&mut self, file: &File, offset: u64, length: u64) -> io::Result<usize> {
        // Bounded, so that a fast peer does not block the event loop: 1 MiB is about 100 µs of loopback copying.
        let count = usize::try_from(length.min(1 << 20)).unwrap_or(1 << 20);
        os::send_file(&*self.socket, file, offset, count)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&*self.socket, Shutdown::Write)?)
    }

    fn reset_on_close(&mut self) {
        reset_on_close(&self.socket);
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// SO_LINGER with a time of zero (RFC 9293 §3.10.4 ABORT). Unix sockets have no reset; the peer sees an end.
pub(super) fn reset_on_close(socket: &TrackedFd) {
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

impl SharedTransport for TrackedFd {
    fn read(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let (count, _) = rustix::net::recv(self, &mut *buffer, RecvFlags::empty())?;
        // A short read has emptied the socket (epoll(7), "for stream-oriented files").
        let is_drained = count < buffer.len();
        Ok(Received { count, is_drained })
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match rustix::net::send(self, bytes, NO_SIGNAL)? {
            count if count == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn end_reads(&self) {
        // Fails only for a socket that is dead already.
        let _ = rustix::net::shutdown(self, Shutdown::Read);
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl AbortHandle for TrackedFd {
    fn answer(&self, response: &[u8]) -> bool {
        let sent = rustix::net::send(self, response, NO_SIGNAL);
        let is_sent = sent.is_ok_and(|count| count == response.len());
        if is_sent {
            // Fails only if the client has closed meanwhile.
            let _ = rustix::net::shutdown(self, Shutdown::Write);
        }
        is_sent
    }

    /// Dissolving the association resets it at once (connect(2), AF_UNSPEC), while a shutdown would send an ordinary
    /// end of stream, which completes a response without a length. Unix sockets support neither, so they are shut down.
    fn abort(&self) {
        if rustix::net::connect_unspec(self).is_err() {
            // Fails only for a socket that is dead already.
            let _ = rustix::net::shutdown(self, Shutdown::Both);
        }
    }
}
