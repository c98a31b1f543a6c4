//! Fork requests from the supervisor to a template: a slot, with the ends of the new worker's pipes.
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

use crate::mailbox::Sender;
use crate::orders::Ear;

/// Buffer size for the two descriptors of a request, as the kernel expects it.
const ANCILLARY: usize = rustix::cmsg_space!(ScmRights(2));

/// A new socket pair, close-on-exec and non-blocking at both ends.
pub(crate) fn requests() -> io::Result<(Asker, Asked)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (asker, asked) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((Asker { socket: asker }, Asked { socket: asked }))
}

/// The supervisor's end.
pub(crate) struct Asker {
    socket: OwnedFd,
}

impl Asker {
    /// Requests a worker in this slot.
    ///
    /// # Errors
    /// When the template has died or does not read its requests.
    pub(crate) fn ask(&self, slot: usize, mailbox: &Sender, ear: &Ear) -> io::Result<()> {
        let number = u32::try_from(slot).unwrap_or(u32::MAX).to_le_bytes();
        let ends = [mailbox.as_fd(), ear.as_fd()];
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

/// The template's end.
pub(crate) struct Asked {
    socket: OwnedFd,
}

/// One request.
pub(crate) struct WorkerWanted {
    pub(crate) slot: usize,
    pub(crate) mailbox: Sender,
    pub(crate) ear: Ear,
}

impl Asked {
    /// Readable when there is a request or the supervisor has died.
    pub(crate) fn poll_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next request; `None` when there is none now.
    ///
    /// # Errors
    /// When the supervisor has died, or its request is invalid.
    pub(crate) fn next(&self) -> io::Result<Option<WorkerWanted>> {
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
            (true, Some(mailbox), Some(ear)) => Ok(Some(WorkerWanted {
                slot: u32::from_le_bytes(number) as usize,
                mailbox: Sender::from_pipe(mailbox),
                ear: Ear::from_pipe(ear),
            })),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Message, mailbox};
    use crate::orders::{Heard, Word, orders};

    #[test]
    fn a_request_brings_the_ends_of_both_pipes() {
        let (asker, asked) = requests().unwrap();
        assert!(asked.next().unwrap().is_none());
        let (mut receiver, sender) = mailbox().unwrap();
        let (ear, mouth) = orders().unwrap();
        for slot in [0, 257] {
            asker.ask(slot, &sender, &ear).unwrap();
        }
        drop((sender, ear));
        let wanted = asked.next().unwrap().unwrap();
        assert_eq!(wanted.slot, 0);
        let wanted = asked.next().unwrap().unwrap();
        assert_eq!(wanted.slot, 257);
        wanted.mailbox.send(&Message::Ready);
        assert_eq!(receiver.read(), [Message::Ready]);
        assert!(mouth.say(Word::Retire));
        assert_eq!(wanted.ear.hear(), Heard::Word(Word::Retire));
    }

    #[test]
    fn the_end_of_the_other_side_is_an_error() {
        let (asker, asked) = requests().unwrap();
        drop(asker);
        assert!(asked.next().is_err());
        let (asker, asked) = requests().unwrap();
        drop(asked);
        let (_receiver, sender) = mailbox().unwrap();
        let (ear, _mouth) = orders().unwrap();
        assert!(asker.ask(1, &sender, &ear).is_err());
    }
}
