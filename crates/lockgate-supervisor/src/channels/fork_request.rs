//! The fork request channel: a socket pair over which the supervisor asks the fork server for workers. A request is a
//! slot number with the worker's ends of its two pipes.
//!
//! Each request is one datagram over a socket pair, because descriptors can only be passed over sockets (unix(7),
//! SCM_RIGHTS).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::channels::control::ControlReceiver;
use crate::channels::status::StatusSender;

/// Buffer size for the two descriptors of a request, as the kernel expects it.
const ANCILLARY: usize = rustix::cmsg_space!(ScmRights(2));

/// A new socket pair, close-on-exec and non-blocking at both ends.
pub(crate) fn fork_request_channel() -> io::Result<(ForkRequestSender, ForkRequestReceiver)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (sender, receiver) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((
        ForkRequestSender { socket: sender },
        ForkRequestReceiver { socket: receiver },
    ))
}

/// The supervisor's end.
pub(crate) struct ForkRequestSender {
    socket: OwnedFd,
}

impl ForkRequestSender {
    /// Requests a worker in this slot.
    ///
    /// # Errors
    /// When the fork server has exited or does not read its requests.
    pub(crate) fn send(
        &self,
        slot: usize,
        status: &StatusSender,
        control: &ControlReceiver,
    ) -> io::Result<()> {
        let number = u32::try_from(slot).unwrap_or(u32::MAX).to_le_bytes();
        let ends = [status.as_fd(), control.as_fd()];
        let mut space = [MaybeUninit::uninit(); ANCILLARY];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        // The buffer has exactly this size.
        let _fits = ancillary.push(SendAncillaryMessage::ScmRights(&ends));
        loop {
            let pieces = [IoSlice::new(&number)];
            match sendmsg(&self.socket, &pieces, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The fork server's end.
pub(crate) struct ForkRequestReceiver {
    socket: OwnedFd,
}

/// One request.
pub(crate) struct ForkRequest {
    pub(crate) slot: usize,
    pub(crate) status: StatusSender,
    pub(crate) control: ControlReceiver,
}

impl ForkRequestReceiver {
    /// Readable when there is a request or the supervisor has exited.
    pub(crate) fn poll_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next request; `None` when there is none now.
    ///
    /// # Errors
    /// When the supervisor has exited, or the request is invalid.
    pub(crate) fn next(&self) -> io::Result<Option<ForkRequest>> {
        let mut number = [0; 4];
        let mut space = [MaybeUninit::uninit(); ANCILLARY];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut pieces = [IoSliceMut::new(&mut number)];
            match recvmsg(
                &self.socket,
                &mut pieces,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
                Ok(received) => break received.bytes,
            }
        };
        let mut ends = ancillary.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(ends) => ends.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        match (received == number.len(), ends.next(), ends.next()) {
            (true, Some(status), Some(control)) => Ok(Some(ForkRequest {
                slot: u32::from_le_bytes(number) as usize,
                status: StatusSender::from_pipe(status),
                control: ControlReceiver::from_pipe(control),
            })),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::control::{ControlMessage, Received, control_channel};
    use crate::channels::status::{StatusMessage, status_channel};

    #[test]
    fn a_request_passes_the_ends_of_both_pipes() {
        let (requests, received) = fork_request_channel().unwrap();
        assert!(received.next().unwrap().is_none());
        let (mut status, status_sender) = status_channel().unwrap();
        let (control_receiver, control) = control_channel().unwrap();
        for slot in [0, 257] {
            requests
                .send(slot, &status_sender, &control_receiver)
                .unwrap();
        }
        drop((status_sender, control_receiver));
        let request = received.next().unwrap().unwrap();
        assert_eq!(request.slot, 0);
        let request = received.next().unwrap().unwrap();
        assert_eq!(request.slot, 257);
        request.status.send(&StatusMessage::Ready);
        assert_eq!(status.read(), [StatusMessage::Ready]);
        assert!(control.send(ControlMessage::Retire));
        assert_eq!(
            request.control.receive(),
            Received::Message(ControlMessage::Retire)
        );
    }

    #[test]
    fn a_closed_peer_is_an_error() {
        let (requests, received) = fork_request_channel().unwrap();
        drop(requests);
        assert!(received.next().is_err());
        let (requests, received) = fork_request_channel().unwrap();
        drop(received);
        let (_status, status_sender) = status_channel().unwrap();
        let (control_receiver, _control) = control_channel().unwrap();
        assert!(requests.send(1, &status_sender, &control_receiver).is_err());
    }
}
