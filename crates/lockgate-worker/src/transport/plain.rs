//! The transport that changes nothing: one system call a method. Knows neither TLS nor HTTP.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::Transport;
use crate::descriptors::Noted;

/// A TCP or unix stream socket.
#[derive(Debug)]
pub struct Plain {
    /// Shared only with whoever may have to uncork it, or to end it at a deadline.
    socket: Arc<Noted>,
    is_corked: bool,
}

impl Plain {
    /// Takes over a connected, non-blocking socket.
    pub fn new(socket: Noted) -> Self {
        Self {
            socket: Arc::new(socket),
            is_corked: false,
        }
    }
}

impl Transport for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::net::recv(&*self.socket, buffer, RecvFlags::empty())?;
        Ok(count)
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        // NOSIGNAL: a reset connection is an error code here and must not raise SIGPIPE in an embedding program.
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, self.is_corked);
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

    fn set_corked(&mut self, is_corked: bool) {
        self.is_corked = is_corked;
    }

    fn socket(&self) -> Weak<Noted> {
        Arc::downgrade(&self.socket)
    }

    #[cfg(target_os = "linux")]
    fn send_file(&mut self, file: &File, offset: u64, length: u64) -> io::Result<usize> {
        // Bounded, so that one call on a fast peer does not keep the lane: 1 MiB is about 100 µs of loopback copying.
        let count = usize::try_from(length.min(1 << 20)).unwrap_or(1 << 20);
        let mut position = offset;
        Ok(rustix::fs::sendfile(
            &*self.socket,
            file,
            Some(&mut position),
            count,
        )?)
    }

    #[cfg(not(target_os = "linux"))]
    fn send_file(&mut self, _file: &File, _offset: u64, _length: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&*self.socket, Shutdown::Write)?)
    }

    fn reset_on_close(&mut self) {
        // SO_LINGER with no time (RFC 9293 §3.10.4 ABORT). Unix sockets know no reset; there the peer sees an end.
        let _ = rustix::net::sockopt::set_socket_linger(&*self.socket, Some(Duration::ZERO));
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
