//! A plain transport over a unix socket whose close can be a reset: the last byte that has arrived stays in the kernel,
//! whose close then is an error for the peer (ECONNRESET) behind all that it was sent, and no end of the stream.
//!
//! Web servers speak the uwsgi protocol over unix sockets, and a response without a length ends with the stream.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use rustix::event::{PollFd, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, Shutdown, recvmsg};

use super::{AbortHandle, Plain, Received, SharedTransport, Transport};
use crate::os::{PEER_END, peer_end};
use crate::transport::descriptors::TrackedFd;

/// See the module documentation.
#[derive(Debug)]
pub struct Resettable {
    plain: Plain,
    shared: Arc<Shared>,
}

/// What other threads may use.
#[derive(Debug)]
struct Shared {
    socket: Arc<TrackedFd>,
    /// The first byte in the kernel was read already.
    is_held: AtomicBool,
    /// The close is a reset, and nothing more is written.
    is_aborted: AtomicBool,
}

impl Resettable {
    /// Takes over a connected, non-blocking unix socket.
    pub fn new(socket: TrackedFd) -> Self {
        let plain = Plain::new(socket);
        let shared = Arc::new(Shared {
            socket: plain.socket(),
            is_held: AtomicBool::new(false),
            is_aborted: AtomicBool::new(false),
        });
        Self { plain, shared }
    }

    fn check(&self) -> io::Result<()> {
        match self.shared.is_aborted.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl Shared {
    /// Receives behind the byte that is held.
    fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let mut first = [0];
        let held = usize::from(self.is_held.load(Ordering::Acquire));
        let mut pieces = [IoSliceMut::new(&mut first[..held]), IoSliceMut::new(buffer)];
        let mut control = RecvAncillaryBuffer::default();
        let received = recvmsg(&*self.socket, &mut pieces, &mut control, flags)?;
        Ok(received.bytes)
    }

    /// Reads what has arrived, and leaves its last byte in the kernel.
    fn read_and_hold(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let held = usize::from(self.is_held.load(Ordering::Acquire));
        let arrived = self.receive(buffer, RecvFlags::PEEK)?;
        let count = arrived - held.min(arrived);
        if count == 0 {
            if held > 0 && !self.has_ended() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let is_drained = true;
            return Ok(Received { count, is_drained });
        }
        // All but the last one; with a byte that was held, as many as are new.
        self.receive(&mut buffer[..count - 1], RecvFlags::empty())?;
        self.is_held.store(true, Ordering::Release);
        let is_drained = count < buffer.len();
        Ok(Received { count, is_drained })
    }

    /// Whether the peer has ended its stream.
    fn has_ended(&self) -> bool {
        let mut watched = [PollFd::from_borrowed_fd(self.socket.as_fd(), PEER_END)];
        let seen = poll(&mut watched, Some(&Timespec::default()));
        seen.is_ok() && peer_end(watched[0].revents()).any()
    }

    /// Takes the byte that is held from the kernel.
    fn release(&self) {
        if self.is_held.swap(false, Ordering::AcqRel) {
            let _ = rustix::net::recv(&*self.socket, &mut [0], RecvFlags::empty());
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !*self.is_aborted.get_mut() {
            self.release();
        }
    }
}

impl Transport for Resettable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        self.check()?;
        self.shared.read_and_hold(buffer)
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.check()?;
        self.plain.write(pieces)
    }

    fn send_file(&mut self, file: &File, offset: u64, length: u64) -> io::Result<usize> {
        self.check()?;
        self.plain.send_file(file, offset, length)
    }

    fn abort_handle(&self) -> Weak<dyn AbortHandle> {
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        shared
    }

    fn share(&self) -> Weak<dyn SharedTransport> {
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        shared
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.plain.shutdown_write()
    }

    fn reset_on_close(&mut self) {
        self.shared.is_aborted.store(true, Ordering::Release);
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.plain.descriptor()
    }
}

/// An application that reads while the client sends waits for the kernel to have bytes, so none is held while it waits.
impl SharedTransport for Shared {
    fn read(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let outcome = self.read_and_hold(buffer);
        if (outcome.as_ref()).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.release();
        }
        outcome
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        SharedTransport::write(&*self.socket, bytes)
    }

    fn end_reads(&self) {
        self.socket.end_reads();
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AbortHandle for Shared {
    fn answer(&self, response: &[u8]) -> bool {
        self.socket.answer(response)
    }

    /// The owner closes: until then the peer waits, and a shutdown would be an end of the stream.
    fn abort(&self) {
        if self.is_held.load(Ordering::Acquire) {
            self.is_aborted.store(true, Ordering::Release);
            // Fails only for a socket that is dead already.
            let _ = rustix::net::shutdown(&*self.socket, Shutdown::Read);
        } else {
            self.socket.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::Shutdown as End;
    use std::os::unix::net::UnixStream;

    fn pair() -> (Resettable, UnixStream) {
        let (server, client) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        (Resettable::new(TrackedFd::new(server.into())), client)
    }

    fn read(server: &mut Resettable, size: usize) -> Result<Vec<u8>, ErrorKind> {
        let mut buffer = vec![0; size];
        let received = server.read(&mut buffer).map_err(|error| error.kind())?;
        buffer.truncate(received.count);
        Ok(buffer)
    }

    #[test]
    fn every_byte_is_read_once() {
        let (mut server, mut client) = pair();
        assert_eq!(read(&mut server, 10), Err(ErrorKind::WouldBlock));
        for (sent, size, expected) in [
            (&b"a"[..], 10, &b"a"[..]),
            (b"b", 10, b"b"),
            (b"cde", 10, b"cde"),
            (b"fghi", 2, b"fg"),
            (b"", 1, b"h"),
            (b"j", 10, b"ij"),
        ] {
            client.write_all(sent).unwrap();
            assert_eq!(read(&mut server, size).unwrap(), expected);
        }
        assert_eq!(read(&mut server, 10), Err(ErrorKind::WouldBlock));
        client.write_all(b"k").unwrap();
        let shared = server.share().upgrade().unwrap();
        let mut buffer = [0; 10];
        assert_eq!(shared.read(&mut buffer).unwrap().count, 1);
        assert_eq!(buffer[0], b'k');
        client.write_all(b"l").unwrap();
        assert_eq!(read(&mut server, 10).unwrap(), b"l");
        client.shutdown(End::Write).unwrap();
        assert_eq!(read(&mut server, 10).unwrap(), b"");
        assert_eq!(read(&mut server, 10).unwrap(), b"");
    }

    #[test]
    fn a_close_is_an_end_or_a_reset_behind_what_was_sent() {
        for (request, resets, expected) in [
            (&b"request"[..], false, None),
            (b"request", true, Some(ErrorKind::ConnectionReset)),
            (b"", true, None),
        ] {
            let (mut server, mut client) = pair();
            client.write_all(request).unwrap();
            let _ = read(&mut server, 100);
            server.write(&[IoSlice::new(b"response")]).unwrap();
            if resets {
                server.reset_on_close();
            }
            drop(server);
            let mut buffer = [0; 100];
            assert_eq!(client.read(&mut buffer).unwrap(), 8);
            let end = client.read(&mut buffer).map_err(|error| error.kind());
            assert_eq!(end.err(), expected);
        }
    }

    #[test]
    fn a_shared_reader_holds_a_byte_except_while_it_waits() {
        let is_readable = |server: &Resettable| {
            let socket = server.descriptor();
            let mut watched = [PollFd::from_borrowed_fd(
                socket,
                rustix::event::PollFlags::IN,
            )];
            poll(&mut watched, Some(&Timespec::default())).unwrap() == 1
        };
        for waits in [false, true] {
            let (mut server, mut client) = pair();
            client.write_all(b"head").unwrap();
            assert_eq!(read(&mut server, 100).unwrap(), b"head");
            let shared = server.share().upgrade().unwrap();
            for sent in [b"body", b"more"] {
                let mut buffer = [0; 100];
                if waits {
                    let error = shared.read(&mut buffer).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    assert!(!is_readable(&server));
                }
                client.write_all(sent).unwrap();
                assert_eq!(shared.read(&mut buffer).unwrap().count, 4);
                assert_eq!(&buffer[..4], sent);
            }
            drop(shared);
            server.reset_on_close();
            drop(server);
            let error = client.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }

    #[test]
    fn an_aborted_connection_ends_with_its_owner() {
        let (mut server, mut client) = pair();
        client.write_all(b"request").unwrap();
        assert_eq!(read(&mut server, 100).unwrap(), b"request");
        server.abort_handle().upgrade().unwrap().abort();
        let error = server.write(&[IoSlice::new(b"late")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(server.read(&mut [0]).is_err());
        drop(server);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
