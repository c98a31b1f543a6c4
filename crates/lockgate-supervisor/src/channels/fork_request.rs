//! The fork request channel: a socket pair over which the supervisor asks the fork server for workers. A request is a
//! slot number and the number of the fork, with the worker's ends of its two pipes, and the pipe of `pre_fork` if the
//! worker has to wait for that.
//!
//! Each request is one datagram over a socket pair, because descriptors can only be passed over sockets (unix(7),
//! SCM_RIGHTS).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, SendAncillaryBuffer, SendAncillaryMessage, recvmsg,
    sendmsg,
};

use crate::channels::control::ControlReceiver;
use crate::channels::status::StatusSender;
use crate::child::setup::WorkerOrigin;
use crate::os::{CLOSE_AT_EXEC, NO_SIGNAL, packet_sockets};

/// Buffer size for the three descriptors of a request, as the kernel expects it.
const ANCILLARY: usize = rustix::cmsg_space!(ScmRights(3));

/// A new socket pair, close-on-exec and non-blocking at both ends.
pub(crate) fn fork_request_channel() -> io::Result<(ForkRequestSender, ForkRequestReceiver)> {
    let (sender, receiver) = packet_sockets()?;
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
        (status, control): (&StatusSender, &ControlReceiver),
        origin: &WorkerOrigin,
    ) -> io::Result<()> {
        let number = [slot as u64, origin.age].map(u64::to_le_bytes).concat();
        let mut ends = vec![status.as_fd(), control.as_fd()];
        ends.extend(origin.pre_fork.as_ref().map(AsFd::as_fd));
        let mut space = [MaybeUninit::uninit(); ANCILLARY];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        // The buffer has this size.
        let _fits = ancillary.push(SendAncillaryMessage::ScmRights(&ends));
        loop {
            let pieces = [IoSlice::new(&number)];
            match sendmsg(&self.socket, &pieces, &mut ancillary, NO_SIGNAL) {
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
    pub(crate) origin: WorkerOrigin,
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
        let mut number = [0; 16];
        let mut space = [MaybeUninit::uninit(); ANCILLARY];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut pieces = [IoSliceMut::new(&mut number)];
            match recvmsg(&self.socket, &mut pieces, &mut ancillary, CLOSE_AT_EXEC) {
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
        let [s0, s1, s2, s3, s4, s5, s6, s7, age @ ..] = number;
        let slot = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        match (received == number.len(), ends.next(), ends.next()) {
            (true, Some(status), Some(control)) => Ok(Some(ForkRequest {
                slot: usize::try_from(slot).unwrap_or(usize::MAX),
                status: StatusSender::from_pipe(status),
                control: ControlReceiver::from_pipe(control),
                origin: WorkerOrigin {
                    age: u64::from_le_bytes(age),
                    pre_fork: ends.next(),
                },
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
    use crate::os::nonblocking_pipe;

    #[test]
    fn a_request_passes_the_ends_of_both_pipes() {
        let (requests, received) = fork_request_channel().unwrap();
        assert!(received.next().unwrap().is_none());
        let (mut status, status_sender) = status_channel().unwrap();
        let (control_receiver, control) = control_channel().unwrap();
        let (pre_fork, held) = nonblocking_pipe().unwrap();
        for (slot, pre_fork) in [(0, None), (257, Some(pre_fork))] {
            let origin = WorkerOrigin { age: 7, pre_fork };
            requests
                .send(slot, (&status_sender, &control_receiver), &origin)
                .unwrap();
        }
        drop(held);
        drop((status_sender, control_receiver));
        let request = received.next().unwrap().unwrap();
        assert_eq!((request.slot, request.origin.age), (0, 7));
        assert!(request.origin.pre_fork.is_none());
        let request = received.next().unwrap().unwrap();
        assert_eq!(request.slot, 257);
        let pre_fork = request.origin.pre_fork.unwrap();
        assert_eq!(rustix::io::read(pre_fork, &mut [0; 1]), Ok(0));
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
        let ends = (&status_sender, &control_receiver);
        assert!(requests.send(1, ends, &WorkerOrigin::default()).is_err());
    }
}
