//! The control channel: a pipe over which the supervisor sends orders to one child process, one byte each.
//!
//! Orders are not signals, because an application may install its own handler for any signal. After an upgrade, workers
//! of the previous version read these bytes: no byte may get another meaning, and a new one is a lower-case letter,
//! which other versions ignore.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::os::nonblocking_pipe;

const OPEN: u8 = b'O';
const RETIRE: u8 = b'R';
const GIVE_WAY: u8 = b'G';
const DRAIN: u8 = b'D';
const STOP: u8 = b'S';
const REOPEN_LOGS: u8 = b'L';

/// One order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlMessage {
    /// Accept connections.
    Open,
    /// Other workers have taken over: finish all requests without haste, then exit.
    Retire,
    /// Let other workers accept new connections first.
    GiveWay,
    /// Finish the requests in progress, then exit.
    Drain,
    /// Exit now.
    Stop,
    /// Reopen the log files.
    ReopenLogs,
}

impl ControlMessage {
    const ALL: [(Self, u8); 6] = [
        (Self::Open, OPEN),
        (Self::Retire, RETIRE),
        (Self::GiveWay, GIVE_WAY),
        (Self::Drain, DRAIN),
        (Self::Stop, STOP),
        (Self::ReopenLogs, REOPEN_LOGS),
    ];
}

/// A new pipe, close-on-exec and non-blocking at both ends.
pub(crate) fn control_channel() -> io::Result<(ControlReceiver, ControlSender)> {
    let (reader, writer) = nonblocking_pipe()?;
    Ok((
        ControlReceiver { pipe: reader },
        ControlSender { pipe: writer },
    ))
}

/// The supervisor's end.
pub(crate) struct ControlSender {
    pipe: OwnedFd,
}

impl ControlSender {
    /// A sender on a pipe that the previous program in this process has used.
    pub(crate) fn from_pipe(pipe: OwnedFd) -> Self {
        Self { pipe }
    }

    /// The descriptor to hand over to the next program in this process.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Sends an order. False when the child has exited, or when the pipe is full: the child has left 64 KiB unread.
    pub(crate) fn send(&self, message: ControlMessage) -> bool {
        let known = ControlMessage::ALL
            .iter()
            .find(|(known, _)| *known == message);
        let Some(&(_, byte)) = known else {
            return false;
        };
        loop {
            match rustix::io::write(&self.pipe, &[byte]) {
                Err(Errno::INTR) => {}
                outcome => return outcome == Ok(1),
            }
        }
    }
}

/// The child's end.
pub(crate) struct ControlReceiver {
    pipe: OwnedFd,
}

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    Message(ControlMessage),
    /// There is no order at the moment.
    Empty,
    /// The supervisor has exited, or has sent an unknown byte.
    Closed,
}

impl ControlReceiver {
    /// A receiver on a pipe that another process has made.
    pub(crate) fn from_pipe(pipe: OwnedFd) -> Self {
        Self { pipe }
    }

    /// Readable when there is an order or the supervisor has exited.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The next order.
    pub(crate) fn receive(&self) -> Received {
        let mut byte = [0];
        loop {
            match rustix::io::read(&self.pipe, &mut byte) {
                Ok(1) if byte[0].is_ascii_lowercase() => {}
                Ok(1) => {
                    let known = ControlMessage::ALL
                        .iter()
                        .find(|(_, known)| byte == [*known]);
                    return known
                        .map_or(Received::Closed, |(message, _)| Received::Message(*message));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Received::Empty,
                Ok(_) | Err(_) => return Received::Closed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_a_closed_pipe_is_reported() {
        let (receiver, sender) = control_channel().unwrap();
        assert_eq!(receiver.receive(), Received::Empty);
        let messages = ControlMessage::ALL.map(|(message, _)| message);
        assert!(messages.iter().all(|message| sender.send(*message)));
        for message in messages {
            assert_eq!(receiver.receive(), Received::Message(message));
        }
        drop(sender);
        assert_eq!(receiver.receive(), Received::Closed);
    }

    #[test]
    fn workers_and_supervisors_of_all_versions_share_these_bytes() {
        let (reader, writer) = nonblocking_pipe().unwrap();
        let receiver = ControlReceiver::from_pipe(reader);
        let bytes = b"OxRGzzDSL";
        assert_eq!(rustix::io::write(&writer, bytes), Ok(bytes.len()));
        for expected in [
            ControlMessage::Open,
            ControlMessage::Retire,
            ControlMessage::GiveWay,
            ControlMessage::Drain,
            ControlMessage::Stop,
            ControlMessage::ReopenLogs,
        ] {
            assert_eq!(receiver.receive(), Received::Message(expected));
        }
        assert_eq!(receiver.receive(), Received::Empty);
    }

    #[test]
    fn a_full_pipe_refuses_messages_and_keeps_the_first_ones() {
        let (receiver, sender) = control_channel().unwrap();
        assert!(sender.send(ControlMessage::Drain));
        let count = (0..1 << 20)
            .take_while(|_| sender.send(ControlMessage::ReopenLogs))
            .count();
        assert!(count < 1 << 20, "{count}");
        for expected in [ControlMessage::Drain, ControlMessage::ReopenLogs] {
            assert_eq!(receiver.receive(), Received::Message(expected));
        }
    }

    #[test]
    fn sending_to_a_process_that_has_exited_fails() {
        let (receiver, sender) = control_channel().unwrap();
        drop(receiver);
        assert!(!sender.send(ControlMessage::Open));
    }
}
